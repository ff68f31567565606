/* base.h - what every file of evloop includes first.
 *
 * EVLOOP_HARD builds the hostile variant: tiny containers, no freelists and no
 * polls skipped for quiet, so that every slow path is taken by ordinary tests. */

#ifndef EVLOOP_BASE_H
#define EVLOOP_BASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#ifdef EVLOOP_HARD
#define HARD_OR(hard, usual) (hard)
#else
#define HARD_OR(hard, usual) (usual)
#endif

#define NS_PER_SEC INT64_C(1000000000)

#endif
