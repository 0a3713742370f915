import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type MachineOptions, machineCommand } from '#lib/guest/vm/machine-command.ts';

const options: MachineOptions = {
  machine: {
    emulator: 'qemu-system-x86_64',
    version: '',
    type: 'q35',
    cpu: 'max',
    bus: 'pci',
    firmware: null,
    console: 'ttyS0',
    modules: [],
  },
  accelerator: 'tcg',
  kernelPath: '/boot/vmlinuz',
  initramfsPath: '/cache/initramfs',
  memoryBytes: 512 * 1024 ** 2 + 1,
  cpus: 3,
  overlay: {
    path: '/builds/a,b/overlay.qcow2',
    base: { path: '/builds/base', format: 'raw' },
    parts: [{ serial: 'image1', offsetBytes: 1_048_576, sizeBytes: 4_194_304, readOnly: false }],
  },
  proxy: null,
  disks: [{ source: { rawPath: '/builds/a,b/payload.raw', readOnly: true }, serial: 'payload' }],
  ports: ['control', 'stdout'],
  firstPort: 3,
  statePath: null,
  saveFolder: null,
  directory: '/builds/a,b/guest',
};

/** The values of an option, in order. */
function valuesOf(name: string, given = options): string[] {
  const words = machineCommand(given).arguments;
  return words.flatMap((word, index) => (words[index - 1] === name ? [word] : []));
}

test('a partition becomes a disk of its own, cut out of the overlay', () => {
  const [base = '', image = '', part = ''] = valuesOf('-blockdev');
  assert.match(base, /^driver=raw,node-name=base,read-only=on,/);
  assert.match(image, /^driver=qcow2,node-name=image,backing=base,/);
  assert.match(part, /driver=raw,node-name=image1,.*file=image,offset=1048576,size=4194304$/);
  assert.ok(valuesOf('-device').some((device) => device.startsWith('virtio-blk-pci,drive=image1,serial=image1')));
});

test('QEMU opens no file of a build by its path, and may write to those that it has to write to', () => {
  const { files, arguments: words } = machineCommand(options);
  const first = options.firstPort + options.ports.length;
  const named = words.flatMap((word) => [...word.matchAll(/\/dev\/fdset\/([0-9]+)|\/proc\/self\/fd\/([0-9]+)/g)]);
  const handed = new Map(
    named.map(([, set, plain]) => {
      const file = files[Number(set ?? plain) - first];
      assert.ok(file);
      assert.is(file.use, plain === undefined ? 'disk' : 'reopened');
      return [file.path, file.writable];
    }),
  );
  assert.equal(
    handed,
    new Map([
      ['/boot/vmlinuz', false],
      ['/cache/initramfs', false],
      ['/builds/a,b/overlay.qcow2', true],
      ['/builds/base', false],
      ['/builds/a,b/payload.raw', false],
    ]),
  );
  const sets = files.flatMap(({ use }, index) => (use === 'disk' ? [`fd=${first + index},set=${first + index}`] : []));
  assert.equal(valuesOf('-add-fd'), sets);
  const paths = ['/boot', '/cache', '/builds/base', '.qcow2', '.raw'];
  assert.equal(
    words.filter((word) => paths.some((path) => word.includes(path))),
    [],
  );
});

test('a vm is called by the folder of its guest, whose commas are none of QEMU’s', () => {
  assert.equal(valuesOf('-name'), ['guest=/builds/a,,b/guest']);
});

test('ports are the descriptors from the first one on', () => {
  const sockets = valuesOf('-chardev').filter((text) => text.startsWith('socket'));
  assert.equal(sockets, ['socket,id=control,fd=3', 'socket,id=stdout,fd=4']);
});

test('the time of an emulated machine is that of a device, and KVM’s is its own', () => {
  assert.match(valuesOf('-append').join(), /clocksource=hpet/);
  assert.not.match(valuesOf('-append', { ...options, accelerator: 'kvm' }).join(), /clocksource/);
});

test('a vm goes on with a state that it inherits, and saves its own to a socket in a folder that it inherits', () => {
  const { arguments: words, files } = machineCommand({ ...options, statePath: '/cache/state' });
  const first = options.firstPort + options.ports.length;
  const [state = ''] = words.flatMap((word, index) => (words[index - 1] === '-incoming' ? [word] : []));
  const descriptor = Number(/^fd:([0-9]+)$/.exec(state)?.[1]);
  assert.equal(files[descriptor - first], { path: '/cache/state', writable: false, use: 'inherited' });

  const saving = machineCommand({ ...options, saveFolder: '/builds/a/state' });
  assert.ok(saving.arguments.includes(`socket,id=monitor,fd=${first}`), 'its monitor follows the ports');
  const folder = Number(/^unix:\/proc\/self\/fd\/([0-9]+)\/socket$/.exec(saving.saveUri ?? '')?.[1]);
  assert.is(saving.files[folder - first - 1]?.path, '/builds/a/state');
});

test('nothing seeds the random numbers of a vm before it begins', () => {
  const [line = ''] = valuesOf('-append');
  assert.match(line, /random\.trust_cpu=off random\.trust_bootloader=off/);
});

test('without a proxy there is no network device, and QEMU may start no process', () => {
  assert.equal(valuesOf('-netdev'), []);
  assert.not.ok(machineCommand(options).arguments.some((word) => word.includes('virtio-net')));
  assert.match(valuesOf('-sandbox').join(), /spawn=deny/);
});

test('with a proxy, nothing but that is reached', () => {
  const [network = '', ...more] = valuesOf('-netdev', { ...options, proxy: { host: '127.0.0.1', port: 4321 } });
  assert.is(network, 'user,id=network,restrict=on,guestfwd=tcp:10.0.2.100:3128-cmd:busybox nc 127.0.0.1 4321');
  assert.equal(more, []);
});

test.run();
