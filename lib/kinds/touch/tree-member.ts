import type { TreeMember } from '../../ext4/member.ts';
import type { PaxRecords } from '../../tar/pax.ts';
import type { RootEntry } from '../../tar/root-entry.ts';

/** A member of a root archive as a file of a file system. */
export function treeMember(path: string, entry: RootEntry): TreeMember {
  return { ...entry, path, attributes: attributesOf(entry.attributes) };
}

const attributeKeyword = 'SCHILY.xattr.';

function attributesOf(records: PaxRecords): Map<string, Buffer> {
  const attributes = new Map<string, Buffer>();
  for (const [keyword, value] of records) {
    attributes.set(unescapeKeyword(keyword.slice(attributeKeyword.length)), value);
  }
  return attributes;
}

/** GNU tar writes `=` and `%` in names of attributes as in URLs. */
function unescapeKeyword(name: string): string {
  return name.replace(/%(3D|25)/g, (_, digits: string) => (digits === '25' ? '%' : '='));
}
