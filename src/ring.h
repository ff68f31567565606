/* ring.h - a growing FIFO of pointers; knows nothing of Python.
 *
 * head and tail only ever grow and are masked on use, so that the length is
 * tail - head also after they wrap around. */

#ifndef EVLOOP_RING_H
#define EVLOOP_RING_H

#include "base.h"

#define RING_MIN HARD_OR(2, 64)

struct ring {
    void **slots;
    size_t mask; /* capacity - 1; the capacity is a power of two */
    size_t head;
    size_t tail;
};

static inline size_t
ring_len(const struct ring *r)
{
    return r->tail - r->head;
}

/* Returns 0, or -1 when out of memory; the ring is then unchanged. */
static inline int
ring_grow(struct ring *r)
{
    size_t old = r->slots ? r->mask + 1 : 0;
    size_t cap = old ? old * 2 : RING_MIN;
    if (cap > SIZE_MAX / sizeof(void *)) {
        return -1;
    }
    void **slots = PyMem_Malloc(cap * sizeof(void *));
    if (slots == NULL) {
        return -1;
    }
    size_t len = ring_len(r);
    for (size_t i = 0; i < len; i++) {
        slots[i] = r->slots[(r->head + i) & r->mask];
    }
    PyMem_Free(r->slots);
    r->slots = slots;
    r->mask = cap - 1;
    r->head = 0;
    r->tail = len;
    return 0;
}

static inline int
ring_push(struct ring *r, void *item)
{
    if (UNLIKELY(r->slots == NULL || ring_len(r) > r->mask) && ring_grow(r) < 0) {
        return -1;
    }
    r->slots[r->tail++ & r->mask] = item;
    return 0;
}

/* The ring must not be empty. */
static inline void *
ring_pop(struct ring *r)
{
    assert(ring_len(r) > 0);
    return r->slots[r->head++ & r->mask];
}

/* Puts back what was popped last; nothing was pushed since. */
static inline void
ring_unpop(struct ring *r, void *item)
{
    assert(ring_len(r) <= r->mask);
    r->slots[--r->head & r->mask] = item;
}

static inline void *
ring_at(const struct ring *r, size_t i)
{
    assert(i < ring_len(r));
    return r->slots[(r->head + i) & r->mask];
}

static inline void
ring_put(struct ring *r, size_t i, void *item)
{
    assert(i < ring_len(r));
    r->slots[(r->head + i) & r->mask] = item;
}

/* Leaves an empty ring that can be used again; the items are the caller's. */
static inline void
ring_free(struct ring *r)
{
    PyMem_Free(r->slots);
    *r = (struct ring){0};
}

#endif
