import { test } from 'uvu';
import { testLayouts } from './guest-layout-suite.ts';
import { openVmTests } from './guest-vm-disk.ts';

const vm = await openVmTests('guest-vm-layout');

testLayouts('vm', vm);

test.after(vm.remove);

test.run();
