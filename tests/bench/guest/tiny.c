// SPDX-License-Identifier: MIT
/* the smallest program execve can start: exit(0), no C library */
void _start(void)
{
	__asm__ volatile("syscall" :: "a"(60), "D"(0) : "rcx", "r11");
	__builtin_unreachable();
}
