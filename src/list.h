/* list.h - a doubly linked list through its members; knows nothing of Python. */

#ifndef EVLOOP_LIST_H
#define EVLOOP_LIST_H

#include "base.h"

/* A head, or a member's link; both NULL while it is in no list. */
struct list {
    struct list *next;
    struct list *prev;
};

static inline void
list_init(struct list *head)
{
    head->next = head->prev = head;
}

static inline bool
list_linked(const struct list *node)
{
    return node->next != NULL;
}

/* Puts the node, which is in no list, at the end. */
static inline void
list_push(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void
list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

#endif
