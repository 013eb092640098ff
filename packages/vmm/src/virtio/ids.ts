/** Names and numbers of virtio 1.2 that devices, transports and queues share. */

/** Device status bits (section 2.1). */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Feature bits that are not a device's own (section 6). */
export const FEATURE = {
  RING_INDIRECT_DESC: 28,
  RING_EVENT_IDX: 29,
  VERSION_1: 32,
  RING_PACKED: 34,
} as const;

/** Device IDs (section 5). */
export const DEVICE_ID = {
  NETWORK: 1,
  BLOCK: 2,
  CONSOLE: 3,
  ENTROPY: 4,
  BALLOON: 5,
  TRANSPORT_9P: 9,
  SOCKET: 19,
} as const;

/** Why a device interrupts: the bits of its interrupt status (sections 4.1.4.5 and 4.2.2). */
export const INTERRUPT = { USED_BUFFER: 1, CONFIGURATION_CHANGE: 2 } as const;
