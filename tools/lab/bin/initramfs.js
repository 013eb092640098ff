#!/usr/bin/env node
import "../dist/initramfs-cli.js";
