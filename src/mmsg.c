/* mmsg.c - see mmsg.h. */

#include "mmsg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/uio.h>

/* No internet datagram is longer. The slots do not all begin at the same place of the
 * processor's caches. */
#define SLOT_INET (64 * 1024)
#define STRIDE_INET (SLOT_INET + 17 * 64)
/* asyncio's max_size: what is longer is cut off, as there. */
#define SLOT_OTHER (256 * 1024)
#define BATCH_OTHER HARD_OR(1, 4)
#define ROOM_INET (MMSG_BATCH * STRIDE_INET)
#define ROOM_OTHER (BATCH_OTHER * SLOT_OTHER)
#define ROOM (ROOM_INET > ROOM_OTHER ? ROOM_INET : ROOM_OTHER)

#define PEER_BITS HARD_OR(1, 8)
#define PEERS (1 << PEER_BITS)

/* An address in both forms. The object is a tuple of a str and ints, all of the exact
 * type: it never changes, and to drop it runs no code. */
struct peer {
    union addr_inet raw;
    PyObject *object; /* strong; NULL: empty */
};

struct mmsg {
    size_t slot; /* what `iov` is made for */
    int used;    /* headers to be made good again */
    struct mmsghdr headers[MMSG_BATCH];
    struct iovec iov[MMSG_BATCH];
    union addr names[MMSG_BATCH];
    struct peer peers[PEERS];  /* of datagrams received, by hash_raw() */
    uint8_t by_object[PEERS];  /* which of them, perhaps, by hash_object() */
    struct peer sent;          /* the last one that mmsg_address() has read */
    char room[];
};

struct mmsg *
mmsg_new(void)
{
    struct mmsg *m = PyMem_RawMalloc(sizeof(*m) + ROOM);
    if (m == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memset(m, 0, sizeof(*m));
    for (int i = 0; i < MMSG_BATCH; i++) {
        m->headers[i].msg_hdr = (struct msghdr){
            .msg_name = &m->names[i],
            .msg_namelen = sizeof(m->names[i]),
            .msg_iov = &m->iov[i],
            .msg_iovlen = 1,
        };
    }
    return m;
}

void
mmsg_free(struct mmsg *m)
{
    if (m == NULL) {
        return;
    }
    for (int i = 0; i < PEERS; i++) {
        Py_XDECREF(m->peers[i].object);
    }
    Py_XDECREF(m->sent.object);
    PyMem_RawFree(m);
}

/* --- addresses ---------------------------------------------------------------- */

static inline unsigned
hash_word(uint32_t word)
{
    return (word * UINT32_C(0x9E3779B1)) >> (32 - PEER_BITS);
}

static inline unsigned
hash_object(const PyObject *object)
{
    return hash_word((uint32_t)((uintptr_t)object >> 4));
}

static inline unsigned
hash_raw(const union addr_inet *raw)
{
    uint32_t host;
    if (raw->any.sa_family == AF_INET) {
        host = raw->in.sin_addr.s_addr;
    }
    else {
        memcpy(&host, raw->in6.sin6_addr.s6_addr + 12, sizeof(host));
    }
    /* The port is at the same place in both. */
    return hash_word(ntohl(host) + ntohs(raw->in.sin_port) * UINT32_C(0x10001));
}

/* New reference; the same object as long as the address is remembered. */
static PyObject *
peer_object(struct mmsg *m, const union addr_inet *raw)
{
    unsigned n = hash_raw(raw);
    struct peer *peer = &m->peers[n];
    socklen_t len = addr_inet_len(raw->any.sa_family);
    if (peer->object == NULL || memcmp(&peer->raw, raw, len) != 0) {
        union addr_inet copy = *raw;
        PyObject *object = addr_to_object(&copy.any, len);
        if (object == NULL) {
            return NULL;
        }
        peer->raw = copy;
        Py_XSETREF(peer->object, object);
        m->by_object[hash_object(object)] = (uint8_t)n;
    }
    return Py_NewRef(peer->object);
}

static bool
read_number(PyObject *tuple, Py_ssize_t index, unsigned long max, unsigned long *number)
{
    *number = 0;
    if (index >= PyTuple_GET_SIZE(tuple)) {
        return true;
    }
    PyObject *item = PyTuple_GET_ITEM(tuple, index);
    if (!PyLong_CheckExact(item)) {
        return false;
    }
    *number = PyLong_AsUnsignedLong(item);
    if (*number == (unsigned long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return *number <= max;
}

/* The numeric host as the kernel has it. */
static bool
read_host(PyObject *tuple, sa_family_t family, void *host)
{
    PyObject *item = PyTuple_GET_ITEM(tuple, 0);
    if (!PyUnicode_CheckExact(item) || !PyUnicode_IS_COMPACT_ASCII(item)) {
        return false;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(item);
    return strlen(text) == (size_t)PyUnicode_GET_LENGTH(item)
        && inet_pton(family, text, host) == 1;
}

static bool
read_address(sa_family_t family, PyObject *tuple, union addr_inet *raw)
{
    Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    unsigned long port, flow, scope;
    memset(raw, 0, sizeof(*raw));
    raw->any.sa_family = family;
    if (size < 2 || size > (family == AF_INET ? 2 : 4)
        || !read_number(tuple, 1, 0xffff, &port)) {
        return false;
    }
    raw->in.sin_port = htons((uint16_t)port);
    if (family == AF_INET) {
        return read_host(tuple, family, &raw->in.sin_addr);
    }
    if (!read_number(tuple, 2, 0xfffff, &flow)
        || !read_number(tuple, 3, UINT32_MAX, &scope)) {
        return false;
    }
    raw->in6.sin6_flowinfo = htonl((uint32_t)flow);
    raw->in6.sin6_scope_id = (uint32_t)scope;
    return read_host(tuple, family, &raw->in6.sin6_addr);
}

const union addr_inet *
mmsg_address(struct mmsg *m, sa_family_t family, PyObject *addr)
{
    struct peer *peer = &m->peers[m->by_object[hash_object(addr)]];
    if (LIKELY(peer->object == addr) && peer->raw.any.sa_family == family) {
        return &peer->raw;
    }
    peer = &m->sent;
    if (peer->object == addr && peer->raw.any.sa_family == family) {
        return &peer->raw;
    }
    union addr_inet raw;
    if (!PyTuple_CheckExact(addr) || (family != AF_INET && family != AF_INET6)
        || !read_address(family, addr, &raw)) {
        return NULL;
    }
    peer->raw = raw;
    Py_XSETREF(peer->object, Py_NewRef(addr));
    return &peer->raw;
}

/* --- receiving ---------------------------------------------------------------- */

static void
mmsg_shape(struct mmsg *m, size_t slot, size_t stride, int count)
{
    m->slot = slot;
    for (int i = 0; i < count; i++) {
        m->iov[i] = (struct iovec){m->room + (size_t)i * stride, slot};
    }
}

static int
mmsg_copy(struct mmsg *m, int i, struct datagram *got)
{
    const struct mmsghdr *header = &m->headers[i];
    const union addr *name = &m->names[i];
    socklen_t len = header->msg_hdr.msg_namelen;
    bool inet = len > 0
        && (name->any.sa_family == AF_INET || name->any.sa_family == AF_INET6);
    got->addr = inet ? peer_object(m, (const union addr_inet *)name)
                     : addr_to_object(&name->any, len);
    got->data = PyBytes_FromStringAndSize(m->iov[i].iov_base,
                                          (Py_ssize_t)header->msg_len);
    if (got->addr == NULL || got->data == NULL) {
        Py_XDECREF(got->addr);
        Py_XDECREF(got->data);
        return -1;
    }
    return 0;
}

/* Copies all that came. Before Python 3.12 to make a tuple can collect garbage, and so
 * run code that reads into the same buffers: not while they are being read out. */
static int
mmsg_copy_all(struct mmsg *m, int n, struct datagram *got)
{
    bool collecting = PY_VERSION_HEX < 0x030C0000 && PyGC_Disable();
    int i = 0;
    while (i < n && mmsg_copy(m, i, &got[i]) == 0) {
        i++;
    }
    if (collecting) {
        PyGC_Enable();
    }
    if (i == n) {
        return n;
    }
    while (--i >= 0) {
        Py_DECREF(got[i].addr);
        Py_DECREF(got[i].data);
    }
    return -1;
}

int
mmsg_recv(struct mmsg *m, int fd, sa_family_t family, struct datagram *got)
{
    bool inet = family == AF_INET || family == AF_INET6;
    int count = inet ? MMSG_BATCH : BATCH_OTHER;
    size_t slot = inet ? SLOT_INET : SLOT_OTHER;
    if (UNLIKELY(m->slot != slot)) {
        mmsg_shape(m, slot, inet ? STRIDE_INET : slot, count);
    }
    while (m->used > 0) {
        m->headers[--m->used].msg_hdr.msg_namelen = sizeof(union addr);
    }
    int n;
    do {
        n = recvmmsg(fd, m->headers, (unsigned)count, MSG_DONTWAIT, NULL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    m->used = n;
    return mmsg_copy_all(m, n, got);
}
