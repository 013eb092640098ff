/* Integers by their width, and addresses of physical memory, which is all there is without paging. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char bool8;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PACKED __attribute__((packed))

static inline void *at(u32 address)
{
	return (void *)address;
}

static inline u32 address_of(const volatile void *pointer)
{
	return (u32)pointer;
}
