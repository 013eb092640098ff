// The kernel's KVM interface, as C++ can read it.
#pragma once

#include <linux/stddef.h>

// In C an empty struct has no size; in C++ it has one byte, and every struct with a flexible array in it, and every ioctl number made of its
// size, would be wrong.
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[0]

#include <linux/kvm.h>

#include "generated/newer.h"

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_msr_list) == 4);
static_assert(sizeof(kvm_irq_routing) == 8 && sizeof(kvm_pmu_event_filter) == 32 && sizeof(kvm_stats_desc) == 16);
static_assert(sizeof(kvm_xsave) == 4096 && sizeof(kvm_coalesced_mmio_ring) == 8);
