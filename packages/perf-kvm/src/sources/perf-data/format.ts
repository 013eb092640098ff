/**
 * The numbers of the perf.data format, version 2 (tools/perf/Documentation/perf.data-file-format.txt). The kernel's own
 * records and attributes are those of include/uapi/linux/perf_event.h.
 */

/** `PERFILE2` as a little-endian machine writes it, and what it looks like when a big-endian one did. */
export const MAGIC = "PERFILE2";
export const MAGIC_SWAPPED = "2ELIFREP";
export const MAGIC_VERSION_1 = "PERFFILE";

/** struct perf_file_header, and its short form in front of a stream (struct perf_pipe_file_header). */
export const FILE_HEADER_BYTES = 104;
export const PIPE_HEADER_BYTES = 16;
export const HEADER_OFFSET = { SIZE: 8, ATTR_SIZE: 16, ATTRS: 24, DATA: 40, FEATURES: 72 } as const;
export const FEATURE_BITS = 256;
/** struct perf_file_section: offset and size, 64 bits each. */
export const SECTION_BYTES = 16;

/** perf_event_attr in its first version (PERF_ATTR_SIZE_VER0); none is shorter. */
export const SMALLEST_ATTR_BYTES = 64;
/** A later version may be longer; none comes near this. */
export const LARGEST_ATTR_BYTES = 4096;

/** struct perf_event_header: type u32, misc u16, size u16. */
export const RECORD_HEADER_BYTES = 8;

/** Records that perf itself writes (PERF_RECORD_USER_TYPE_START and on, tools/lib/perf/include/perf/event.h). */
export const USER_RECORD = {
  HEADER_ATTR: 64,
  HEADER_EVENT_TYPE: 65,
  HEADER_TRACING_DATA: 66,
  HEADER_BUILD_ID: 67,
  FINISHED_ROUND: 68,
  ID_INDEX: 69,
  AUXTRACE_INFO: 70,
  AUXTRACE: 71,
  AUXTRACE_ERROR: 72,
  THREAD_MAP: 73,
  CPU_MAP: 74,
  EVENT_UPDATE: 78,
  TIME_CONV: 79,
  HEADER_FEATURE: 80,
  COMPRESSED: 81,
  FINISHED_INIT: 82,
  COMPRESSED2: 83,
} as const;

/** Feature sections (HEADER_* in tools/perf/util/header.h). */
export const FEATURE = {
  TRACING_DATA: 1,
  BUILD_ID: 2,
  HOSTNAME: 3,
  OS_RELEASE: 4,
  VERSION: 5,
  ARCH: 6,
  CPU_COUNT: 7,
  CPU_DESCRIPTION: 8,
  CPUID: 9,
  TOTAL_MEMORY: 10,
  COMMAND_LINE: 11,
  EVENT_DESCRIPTION: 12,
  COMPRESSED: 27,
} as const;

/** Beyond this a section that has to be held as a whole is refused; tracing data of all events are 8 MB or so. */
export const LARGEST_SECTION_BYTES = 64 * 2 ** 20;
