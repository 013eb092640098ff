// Files of memory, which guest RAM is mapped from.
#pragma once

#include <cstddef>
#include <string>

namespace kvm_binding {

// A sealed memfd: nobody can shorten it under a mapping. -1 with errno set.
int memory_file(const std::string &name, size_t size);

// A file on a tmpfs of its own, mounted nowhere, whose mappings get huge pages once madvise(MADV_HUGEPAGE) asks for them
// (a memfd's depend on /sys/kernel/mm/transparent_hugepage/shmem_enabled, "never" by default). Needs CAP_SYS_ADMIN, or
// a kernel that lets anybody make a user namespace. -1 where it cannot be had, which is no error: memory_file is next best.
int huge_memory_file(const std::string &name, size_t size);

} // namespace kvm_binding
