// SPDX-License-Identifier: MIT
// What an administrator asks of a running hypervisor, a letter for each; answers go to the log.
#pragma once

#include "lib/result.hpp"

namespace pvn::debug {

// invalid: no such key; `h` lists them.
Result<void> key(char);

}  // namespace pvn::debug
