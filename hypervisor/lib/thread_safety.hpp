// SPDX-License-Identifier: MIT
// Names for clang's thread-safety attributes: which lock guards what is checked when the hypervisor is built.
#pragma once

#if defined(__clang__)
#define PVN_ATTRIBUTE(x) __attribute__((x))
#else
#define PVN_ATTRIBUTE(x)
#endif

#define PVN_CAPABILITY(name) PVN_ATTRIBUTE(capability(name))
#define PVN_SCOPED_CAPABILITY PVN_ATTRIBUTE(scoped_lockable)
#define PVN_GUARDED_BY(lock) PVN_ATTRIBUTE(guarded_by(lock))
#define PVN_REQUIRES(...) PVN_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define PVN_EXCLUDES(...) PVN_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define PVN_ACQUIRE(...) PVN_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define PVN_RELEASE(...) PVN_ATTRIBUTE(release_capability(__VA_ARGS__))
#define PVN_ASSERT_HELD(...) PVN_ATTRIBUTE(assert_capability(__VA_ARGS__))
#define PVN_UNCHECKED PVN_ATTRIBUTE(no_thread_safety_analysis)
