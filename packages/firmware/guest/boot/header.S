/*
 * How a loader recognises the image: the header of Multiboot 0.6.96 (section 3.1), and the ELF note by which a PVH
 * kernel names its entry point (Xen, public/elfnote.h).
 */

#define HEADER_MAGIC 0x1badb002
/* Tell us where memory is; nothing else is asked for. */
#define HEADER_MEMORY_INFO (1 << 1)

	.section .multiboot, "a"
	.balign 4
	.long HEADER_MAGIC
	.long HEADER_MEMORY_INFO
	.long -(HEADER_MAGIC + HEADER_MEMORY_INFO)

#define XEN_ELFNOTE_PHYS32_ENTRY 18

	.section .note.Xen, "a", @note
	.balign 4
	.long name_end - name
	.long entry_end - entry
	.long XEN_ELFNOTE_PHYS32_ENTRY
name:	.asciz "Xen"
name_end:
	.balign 4
entry:	.long pvh_entry
entry_end:
