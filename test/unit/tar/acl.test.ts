import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import { parseAcl, renderAcl } from '#lib/tar/acl.ts';

/** Access control lists in the forms of GNU tar and libarchive. */

/** As `getfattr -n system.posix_acl_access` of Linux 6.1 shows the list that setfacl has made of it. */
const value = Buffer.from(
  '0200000001000700ffffffff02000700d204000004000500ffffffff08000400d204000010000700ffffffff20000500ffffffff',
  'hex',
);

const accounts = { users: new Map([['phablet', 1234]]), groups: new Map([['phablet', 1234]]) };

test('all forms of a list mean the same', () => {
  for (const text of [
    'user::rwx\nuser:1234:rwx\ngroup::r-x\ngroup:1234:r--\nmask::rwx\nother::r-x\n',
    'user::rwx,group::r-x,mask::rwx,other::r-x,user:phablet:rwx:1234,group:phablet:r--:1234',
    'u::rwx,u:1234:rwx\t#effective:rwx,g::r-x,g:1234:r--,m::rwx,o::r-x',
    'user::rwx\nuser:phablet:rwx\ngroup::r-x\ngroup:phablet:r--\nmask::rwx\nother::r-x\n',
  ]) {
    assert.equal(parseAcl(text, accounts), value);
  }
});

test('the text of a list has numbers alone, and means the same', () => {
  const text = 'user::rwx\nuser:1234:rwx\ngroup::r-x\ngroup:1234:r--\nmask::rwx\nother::r-x\n';
  assert.is(renderAcl(value), text);
  for (const bytes of [
    value.subarray(1),
    value.subarray(0, 11),
    Buffer.concat([Buffer.from([3]), value.subarray(1)]),
  ]) {
    assert.throws(() => renderAcl(bytes), /access control list of it is damaged/);
  }
});

test('lists that are none, and names that the image does not know, are refused', () => {
  const codeOf = (text: string) => {
    try {
      parseAcl(text, accounts);
    } catch (error) {
      return error instanceof ImageBuilderError ? error.code : 'another';
    }
    return 'none';
  };
  assert.is(codeOf('user:nobody:rwx'), 'image.unsupported');
  assert.is(codeOf('group:nobody:rwx'), 'image.unsupported');
  assert.is(codeOf('user:99999999999:rwx'), 'image.unsupported');
  assert.is(codeOf('user::rwz'), 'image.corrupt');
  assert.is(codeOf('default:user::rwx'), 'image.corrupt');
  assert.is(codeOf('rwx'), 'image.corrupt');
});

test.run();
