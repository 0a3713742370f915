import type { TreeMember } from '../../ext4/member.ts';
import type { PaxRecords } from '../../tar/pax.ts';
import type { RootEntry } from '../../tar/root-archive.ts';
import { parseAcl } from './acl.ts';

/** A member of a root archive as a file of a file system. */
export function treeMember(path: string, entry: RootEntry): TreeMember {
  return { ...entry, path, attributes: attributesOf(entry.attributes) };
}

const aclNames: Readonly<Record<string, string>> = {
  'SCHILY.acl.access': 'system.posix_acl_access',
  'SCHILY.acl.default': 'system.posix_acl_default',
};
const attributeKeyword = 'SCHILY.xattr.';

function attributesOf(records: PaxRecords): Map<string, Buffer> {
  const attributes = new Map<string, Buffer>();
  for (const [keyword, value] of records) {
    const acl = aclNames[keyword];
    if (acl === undefined) attributes.set(unescapeKeyword(keyword.slice(attributeKeyword.length)), value);
    else attributes.set(acl, parseAcl(value.toString('latin1')));
  }
  return attributes;
}

/** GNU tar writes `=` and `%` in names of attributes as in URLs. */
function unescapeKeyword(name: string): string {
  return name.replace(/%(3D|25)/g, (_, digits: string) => (digits === '25' ? '%' : '='));
}
