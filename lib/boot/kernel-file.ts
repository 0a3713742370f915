import type { FileHandle } from 'node:fs/promises';
import { readAt } from '../image/read-at.ts';
import { type Range, unpack } from '../image/unwrap/decompress.ts';

/** The file of a Linux kernel, as boot loaders start it. */
export interface KernelFile {
  /** Such as `6.1.0-56-amd64`, the answer of `uname -r`; null where the file does not show it. */
  readonly version: string | null;
  /** True where it has a signature, which Secure Boot may accept. */
  readonly isSigned: boolean;
}

/** The header of a kernel for x86 has at most 64 sectors. */
const headBytes = 64 * 1024;
/** More than any kernel unpacks to. */
const maximumUnpackedBytes = 512 * 2 ** 20;
/** Text that may lie on both sides of the border of two pieces. */
const overlapBytes = 256;

/** Reads the kernel that lies in part of a file. Throws the reason of the signal. */
export async function readKernelFile(file: FileHandle, range: Range, signal: AbortSignal): Promise<KernelFile> {
  const head = await readAt(file, range.offset, Math.min(headBytes, range.sizeBytes));
  const version = setupVersion(head) ?? (await findBanner(file, range, head, signal));
  return { version, isSigned: hasSignature(head) };
}

/** The version in the header of a kernel for x86 (the kernel's Documentation/arch/x86/boot.rst, `kernel_version`). */
function setupVersion(head: Buffer): string | null {
  if (head.length < 0x210 || head.toString('latin1', 0x202, 0x206) !== 'HdrS') return null;
  const offset = head.readUInt16LE(0x20e);
  if (offset === 0) return null;
  return /^(\d[\w.+~-]{0,99})[\s\0]/.exec(head.toString('latin1', 0x200 + offset, 0x200 + offset + 128))?.[1] ?? null;
}

/**
 * True for a program for EFI with a table of certificates, whoever has made them (Microsoft's "PE Format": the fifth of
 * the data directories).
 */
function hasSignature(head: Buffer): boolean {
  if (head.length < 0x40 || head.toString('latin1', 0, 2) !== 'MZ') return false;
  const signature = head.readUInt32LE(0x3c);
  const optional = signature + 24;
  if (optional + 2 > head.length || head.toString('latin1', signature, signature + 4) !== 'PE\0\0') return false;
  const directories = optional + (head.readUInt16LE(optional) === 0x20b ? 112 : 96);
  const certificates = directories + 4 * 8;
  if (certificates + 8 > head.length || head.readUInt32LE(directories - 4) < 5) return false;
  return head.readUInt32LE(certificates) > 0 && head.readUInt32LE(certificates + 4) > 0;
}

/**
 * Looks for the kernel's own first message, in a plain kernel and in those of arm64: packed by gzip, or behind a header
 * for EFI (the kernel's drivers/firmware/efi/libstub/zboot-header.S).
 */
async function findBanner(file: FileHandle, range: Range, head: Buffer, signal: AbortSignal): Promise<string | null> {
  const { payload, method } = payloadOf(range, head);
  if (payload.offset + payload.sizeBytes > range.offset + range.sizeBytes) return null;
  let seenBytes = 0;
  let rest = '';
  try {
    for await (const chunk of unpack(file, payload, method, { signal, onProgress: () => undefined })) {
      const text = rest + chunk.toString('latin1');
      const version = /Linux version (\d[\w.+~-]{0,99}) \(/.exec(text)?.[1];
      if (version !== undefined) return version;
      rest = text.slice(-overlapBytes);
      seenBytes += chunk.length;
      if (seenBytes > maximumUnpackedBytes) return null;
    }
  } catch {
    signal.throwIfAborted();
    // Packed data with a fault: another boot loader may know what they are.
  }
  return null;
}

function payloadOf(range: Range, head: Buffer): { payload: Range; method: 'gzip' | 'zstd' | 'stored' } {
  if (head.length > 2 && head.readUInt16BE(0) === 0x1f8b) return { payload: range, method: 'gzip' };
  if (head.length < 64 || head.toString('latin1', 0, 8) !== 'MZ\0\0zimg') return { payload: range, method: 'stored' };
  const payload = { offset: range.offset + head.readUInt32LE(8), sizeBytes: head.readUInt32LE(12) };
  const name = head.toString('latin1', 24, 28);
  return { payload, method: name === 'gzip' ? 'gzip' : name === 'zstd' ? 'zstd' : 'stored' };
}
