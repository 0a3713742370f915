import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findHierarchies } from '#lib/guest/host/hierarchies.ts';

test('a machine with one hierarchy of version 2: the cgroup of this service', () => {
  const mountinfo = '30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n';
  assert.equal(findHierarchies(mountinfo, '0::/system.slice/imagebuilder.service\n'), [
    {
      version: 2,
      controllers: ['memory', 'pids', 'cpu'],
      folder: '/sys/fs/cgroup/system.slice/imagebuilder.service',
    },
  ]);
});

test('a machine with hierarchies of version 1: each controller has its own, several may share one', () => {
  const mountinfo = [
    '31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755',
    '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct',
    '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
    '36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices',
    '39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids',
    '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
  ].join('\n');
  const found = findHierarchies(mountinfo, '9:name=systemd:/\n8:pids:/a\n4:memory:/b/c\n1:cpu,cpuacct:/\n0::/\n');
  assert.equal(
    found.map(({ version, controllers, folder }) => [version, controllers.join(), folder]),
    [
      [1, 'cpu', '/sys/fs/cgroup/cpu,cpuacct'],
      [1, 'memory', '/sys/fs/cgroup/memory/b/c'],
      [1, 'pids', '/sys/fs/cgroup/pids/a'],
      [2, 'memory,pids,cpu', '/sys/fs/cgroup/unified'],
    ],
  );
});

test('in a container that sees its own cgroup alone, paths are below what is mounted', () => {
  const mountinfo = '99 90 0:26 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n';
  assert.is(findHierarchies(mountinfo, '0::/docker/abc\n')[0]?.folder, '/sys/fs/cgroup');
  assert.is(findHierarchies(mountinfo, '0::/docker/abc/child\n')[0]?.folder, '/sys/fs/cgroup/child');
});

test('a cgroup that cannot be seen from here, and a machine without any, give none', () => {
  const mountinfo = '99 90 0:26 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n';
  assert.equal(findHierarchies(mountinfo, '0::/docker/other\n'), []);
  assert.equal(findHierarchies(mountinfo, '0::/../other\n'), []);
  assert.equal(findHierarchies('', ''), []);
});

test.run();
