/** Ioctls as no sane caller makes them: by native/raw-ioctl.c, since the binding refuses them before the kernel could. */
import { fileURLToPath } from "node:url";

export const RAW_IOCTL = fileURLToPath(new URL("raw-ioctl", import.meta.url));
