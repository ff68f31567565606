/* heap.h - a binary min-heap ordered by (key, order of insertion).
 *
 * Knows nothing of Python. Each element holds a heap_node, which knows its place,
 * so that removal from the middle needs no search. Equal keys leave the heap
 * first in, first out. */

#ifndef EVLOOP_HEAP_H
#define EVLOOP_HEAP_H

#include "base.h"

#define HEAP_MIN HARD_OR(1, 32)
#define HEAP_OUT SIZE_MAX /* the index of a node that is in no heap */

struct heap_node {
    size_t index;
};

struct heap_entry {
    int64_t key;
    uint64_t seq;
    struct heap_node *node;
};

struct heap {
    struct heap_entry *entries;
    size_t len;
    size_t cap;
    uint64_t next_seq;
};

static inline bool
heap_before(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->key < b->key || (a->key == b->key && a->seq < b->seq);
}

static inline void
heap_put(struct heap *h, size_t i, struct heap_entry e)
{
    h->entries[i] = e;
    e.node->index = i;
}

static inline void
heap_sift_up(struct heap *h, size_t i, struct heap_entry e)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!heap_before(&e, &h->entries[parent])) {
            break;
        }
        heap_put(h, i, h->entries[parent]);
        i = parent;
    }
    heap_put(h, i, e);
}

static inline void
heap_sift_down(struct heap *h, size_t i, struct heap_entry e)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->len) {
            break;
        }
        if (child + 1 < h->len
            && heap_before(&h->entries[child + 1], &h->entries[child])) {
            child++;
        }
        if (!heap_before(&h->entries[child], &e)) {
            break;
        }
        heap_put(h, i, h->entries[child]);
        i = child;
    }
    heap_put(h, i, e);
}

/* Returns 0, or -1 when out of memory; the heap is then unchanged. */
static inline int
heap_push(struct heap *h, struct heap_node *node, int64_t key)
{
    if (UNLIKELY(h->len == h->cap)) {
        size_t cap = h->cap ? h->cap * 2 : HEAP_MIN;
        if (cap > SIZE_MAX / sizeof(struct heap_entry)) {
            return -1;
        }
        void *entries = PyMem_Realloc(h->entries, cap * sizeof(struct heap_entry));
        if (entries == NULL) {
            return -1;
        }
        h->entries = entries;
        h->cap = cap;
    }
    struct heap_entry e = {key, h->next_seq++, node};
    heap_sift_up(h, h->len++, e);
    return 0;
}

static inline void
heap_remove(struct heap *h, struct heap_node *node)
{
    size_t i = node->index;
    assert(i < h->len && h->entries[i].node == node);
    node->index = HEAP_OUT;
    struct heap_entry last = h->entries[--h->len];
    if (i == h->len) {
        return;
    }
    if (i > 0 && heap_before(&last, &h->entries[(i - 1) / 2])) {
        heap_sift_up(h, i, last);
    }
    else {
        heap_sift_down(h, i, last);
    }
}

/* Leaves an empty heap that can be used again; the nodes are the caller's. */
static inline void
heap_free(struct heap *h)
{
    PyMem_Free(h->entries);
    *h = (struct heap){.next_seq = h->next_seq};
}

#endif
