import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageBuilderError } from '#lib/errors.ts';
import { exec, lastLines } from '#lib/exec.ts';

/** Boots an image as the disk of an emulated machine, as a cloud would: with a NoCloud seed and a serial console. */

export interface BootOptions {
  /** The image; it is not changed. */
  readonly path: string;
  /** Its format, default `qcow2`; `raw` for a CD image that boots from disks as well. */
  readonly format?: 'qcow2' | 'raw';
  /** Default `bios`. The others need the package `ovmf`. */
  readonly firmware?: keyof typeof firmwares;
  /** The awaited text on the serial console, matched line by line. */
  readonly until: RegExp;
  /** Shell commands that cloud-init runs as root at the end of the first boot, their output on the serial console. */
  readonly command?: string;
  /** Emulated machines take one to three minutes to come up; default ten minutes. */
  readonly timeoutMs?: number;
  /** Called with every line of the serial console, without control sequences. */
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** Code and variables of the firmware, as the package `ovmf` has them; those of Secure Boot hold Microsoft's keys. */
const firmwares = {
  bios: null,
  uefi: { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  'secure-boot': { code: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd' },
} as const;

/**
 * Boots a throw-away overlay of the image under QEMU (no KVM needed) until `until` matches a line of the serial
 * console, and resolves with the console's text up to there. The machine is always killed. Throws `image.output`, with
 * the end of the console, when the machine stops, its kernel panics or the time is up before; the reason of the signal
 * when it aborts.
 */
export async function bootImage(options: BootOptions): Promise<string> {
  const { path, format = 'qcow2', until, onLine, signal, timeoutMs = 600_000 } = options;
  signal?.throwIfAborted();
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-boot-'));
  try {
    const overlay = join(directory, 'overlay.qcow2');
    const seed = join(directory, 'seed.img');
    await exec('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', format, '-b', path, overlay]);
    await makeSeed(directory, seed, options.command ?? 'true');
    const firmware = firmwares[options.firmware ?? 'bios'];
    const variables = join(directory, 'variables.fd');
    if (firmware !== null) await copyFile(firmware.variables, variables);
    const firmwareArguments = firmware === null ? [] : flash(firmware.code, variables);

    const found = new AbortController();
    const panicked = new AbortController();
    const lines: string[] = [];
    const limit = AbortSignal.timeout(timeoutMs);
    const stop = AbortSignal.any([found.signal, panicked.signal, limit, ...(signal ? [signal] : [])]);
    const failure = await exec('qemu-system-x86_64', [...machine(overlay, seed), ...firmwareArguments], {
      signal: stop,
      onLine: (raw, stream) => {
        const line = stream === 'stdout' ? withoutControl(raw) : `qemu: ${raw}`;
        lines.push(line);
        onLine?.(line);
        if (stream !== 'stdout') return;
        if (until.test(line)) found.abort();
        else if (line.includes('Kernel panic - not syncing')) panicked.abort();
      },
    }).then(
      () => new Error('it switched itself off'),
      (error: unknown) => error,
    );
    if (found.signal.aborted) return lines.join('\n');
    signal?.throwIfAborted();
    const ended = limit.aborted ? `${timeoutMs / 1000} seconds passed` : String((failure as Error).message);
    const why = panicked.signal.aborted ? 'its kernel panicked' : ended;
    throw new ImageBuilderError('image.output', `the image did not boot as far as ${until} before ${why}`, {
      cause: failure,
      logTail: lastLines(lines.join('\n'), 40),
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function machine(overlay: string, seed: string): string[] {
  return [
    ...['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '1024'],
    ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-nic', 'none', '-no-reboot'],
    ...['-drive', `file=${escapeCommas(overlay)},format=qcow2,if=virtio,cache=unsafe`],
    ...['-drive', `file=${escapeCommas(seed)},format=raw,if=virtio,readonly=on`],
  ];
}

/** Only firmware writes to its variables: without that, Secure Boot would hold nothing. */
function flash(code: string, variables: string): string[] {
  return [
    ...['-machine', 'smm=on', '-global', 'driver=cfi.pflash01,property=secure,value=on'],
    ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${code}`],
    ...['-drive', `if=pflash,unit=1,format=raw,file=${escapeCommas(variables)}`],
  ];
}

/** QEMU doubles a comma inside an option's value. */
function escapeCommas(path: string): string {
  return path.replaceAll(',', ',,');
}

/** A floppy-sized FAT image labelled CIDATA: where cloud-init's NoCloud data source looks. */
async function makeSeed(directory: string, seed: string, command: string): Promise<void> {
  const script = Buffer.from(command).toString('base64');
  const userData = [
    '#cloud-config',
    'runcmd:',
    `  - [sh, -c, "echo ${script} | base64 -d | sh >/dev/ttyS0 2>&1"]`,
    '',
  ].join('\n');
  await writeFile(join(directory, 'user-data'), userData);
  await writeFile(join(directory, 'meta-data'), `instance-id: boot-${process.pid}\n`);
  await exec('mformat', ['-C', '-i', seed, '-f', '1440', '-v', 'CIDATA', '::']);
  await exec('mcopy', ['-i', seed, join(directory, 'user-data'), join(directory, 'meta-data'), '::']);
}

/** Without ANSI escape sequences and carriage returns, which consoles are full of. */
function withoutControl(line: string): string {
  const escapeSequence = new RegExp(`${String.fromCharCode(27)}(\\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>78c])`, 'g');
  return line.replace(escapeSequence, '').replaceAll('\r', '');
}
