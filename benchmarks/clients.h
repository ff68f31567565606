/* clients.h - what the load generators have in common: their options, clocks and
 * counts, and the window in which they measure. Each is one file that includes
 * this one.
 *
 * All figures are of a window that opens after the warm-up; a message that began
 * before it and ends in it counts, as does the server's CPU time in it, read
 * from the clock of its process. With a COUNT other than 0 there is no window:
 * exactly so many messages are sent. Prints one line of JSON.
 *
 * To "spin" is to ask for events without a pause. A core that halts has to be
 * woken by the server's send(), which can cost the server more than all the rest
 * of an echo: on a core of its own the client spins. It is no use where server
 * and client share a core.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define READ_SIZE (256 * 1024)
#define EVENTS 512
#define MAX_ERRORS 100

/* Latencies in steps of 100 ns; the last one holds all that took longer. */
#define STEP 100
#define STEPS 4000000

/* So many source addresses take turns: closed connections keep their ports. */
#define SOURCES 200

/* When a client began that has nothing more to do, and when a count ends. */
#define NEVER INT64_MAX

/* The arguments that all of them take, in this order, and their number. */
#define COMMON_USAGE "CONNECTIONS SIZE SECONDS WARM-UP COUNT spin|sleep SERVER-PID"
#define COMMON_OPTIONS 7

static struct {
    int connections;
    size_t size;
    double seconds;
    double warm_up;
    uint64_t count;
    int patience; /* milliseconds to wait for events */
    pid_t pid;
} options;

static struct {
    uint64_t begun; /* also those before the window */
    uint64_t messages;
    uint64_t bytes;
    uint64_t errors;
    uint32_t latencies[STEPS];
} counted;

static int epoll_fd;
static char *message;
static char incoming[READ_SIZE];

/* Each generator's own: handle events until that time, or the end of the count. */
static void run_until(int64_t deadline);

static void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t
clock_ns(clockid_t clock)
{
    struct timespec time;

    if (clock_gettime(clock, &time) < 0) {
        die("clock_gettime");
    }
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* The server's CPU time, user and system, of all its threads. */
static int64_t
server_cpu(void)
{
    clockid_t clock;

    errno = clock_getcpuclockid(options.pid, &clock);
    if (errno != 0) {
        die("server's CPU clock");
    }
    return clock_ns(clock);
}

static void
failed(const char *what)
{
    counted.errors++;
    if (counted.errors >= MAX_ERRORS) {
        fprintf(stderr, "load: %s: too many errors\n", what);
        exit(1);
    }
}

/* Set a new socket up for TCP, each from another of the source addresses. */
static void
prepare_tcp(int fd)
{
    static unsigned opened;
    struct sockaddr_in source = {.sin_family = AF_INET};
    const int on = 1;

    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened++ % SOURCES);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0
        || bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) {
        die("TCP socket");
    }
}

static struct sockaddr_in
server_address(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)atoi(port));
    return address;
}

/* Tell whether there is to be another message, and count it as begun. */
static int
begin_message(void)
{
    if (options.count != 0 && counted.begun == options.count) {
        return 0;
    }
    counted.begun++;
    return 1;
}

/* A message is done. Return the time, at which the next one begins. */
static int64_t
end_message(int64_t began)
{
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    int64_t step = (now - began) / STEP;

    counted.latencies[step < STEPS ? step : STEPS - 1]++;
    counted.messages++;
    return now;
}

static int
all_counted(void)
{
    return options.count != 0 && counted.messages >= options.count;
}

/* In microseconds; 0 when nothing was counted. */
static double
latency(double fraction)
{
    uint64_t passed = 0, wanted = (uint64_t)((double)counted.messages * fraction);
    int step = 0;

    if (counted.messages == 0) {
        return 0;
    }
    while (step < STEPS - 1 && (passed += counted.latencies[step]) <= wanted) {
        step++;
    }
    return step * STEP / 1e3;
}

/* Run the clients, which are open, and print the outcome. */
static void
measure_messages(void)
{
    int64_t began, ended, cpu;

    if (options.count == 0) {
        began = clock_ns(CLOCK_MONOTONIC);
        run_until(began + (int64_t)(options.warm_up * 1e9));

        /* An error of the warm-up is an error all the same. */
        counted.messages = counted.bytes = 0;
        memset(counted.latencies, 0, sizeof(counted.latencies));
    }
    began = clock_ns(CLOCK_MONOTONIC);
    cpu = server_cpu();
    ended = options.count == 0 ? began + (int64_t)(options.seconds * 1e9) : NEVER;
    run_until(ended);
    cpu = server_cpu() - cpu;
    ended = clock_ns(CLOCK_MONOTONIC);

    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f, \"bytes\": %" PRIu64
           ", \"errors\": %" PRIu64 ", \"p50\": %.1f, \"p99\": %.1f"
           ", \"cpu\": %.6f}\n",
           counted.messages, (double)(ended - began) / 1e9, counted.bytes,
           counted.errors, latency(0.5), latency(0.99), (double)cpu / 1e9);
}

static int
choice(const char *given, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(given, names[i]) == 0) {
            return i;
        }
    }
    fprintf(stderr, "load: what is %s?\n", given);
    exit(2);
}

/* Read the common arguments, make the message and the epoll descriptor. */
static void
set_up(char **given)
{
    static const char *const waits[] = {"spin", "sleep", NULL};
    struct rlimit files;

    options.connections = atoi(given[0]);
    options.size = (size_t)atol(given[1]);
    options.seconds = atof(given[2]);
    options.warm_up = atof(given[3]);
    options.count = strtoull(given[4], NULL, 10);
    options.patience = choice(given[5], waits) == 0 ? 0 : 10;
    options.pid = atoi(given[6]);

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    message = malloc(options.size);
    if (message == NULL) {
        die("malloc");
    }
    /* No period that a wrong offset could hide behind. */
    for (size_t i = 0; i < options.size; i++) {
        message[i] = (char)(i * i >> 4);
    }
    epoll_fd = epoll_create1(0);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
}
