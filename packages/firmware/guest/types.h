/*
 * Integer types by their width, as specifications name them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
