/** Control messages of a device with several ports (virtio 1.2, section 5.3.6.2). */

/** Events. CONSOLE_PORT and RESIZE are of ports that are terminals, which these are not. */
export const CONTROL = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  DEVICE_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

export const CONTROL_BYTES = 8;

export interface ControlMessage {
  readonly id: number;
  readonly event: number;
  readonly value: number;
}

/** `bytes` are CONTROL_BYTES at least. */
export function parseControl(bytes: Uint8Array): ControlMessage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return { id: view.getUint32(0, true), event: view.getUint16(4, true), value: view.getUint16(6, true) };
}

/** A port's name comes behind the message that announces it. */
export function controlBytes({ id, event, value }: ControlMessage, name = ""): Uint8Array {
  const text = new TextEncoder().encode(name);
  const bytes = new Uint8Array(CONTROL_BYTES + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  bytes.set(text, CONTROL_BYTES);
  return bytes;
}
