// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace pvn {

struct SlotAddresses {
    std::uint64_t stub_syscall, stub_compat_syscall, stub_vectors, text_end, leave_to_guest, leave_iretq;
    std::uint64_t vdso_hypercall_again, vdso_kernel_unmasked, vdso_user_saved, vdso_user_restored, vdso_user_iretq, vdso_return_end;
};
extern "C" SlotAddresses const slot_addresses;

}  // namespace pvn
