/** The hook or action that Juju runs, by its variables. */
export interface Hook {
  readonly kind: 'hook' | 'action';
  /** Such as `amqp-relation-changed` or `pause`. */
  readonly name: string;
  /** Such as `imagebuilder/0`. */
  readonly unit: string;
  readonly application: string;
  /** The relation that ends with this hook; it is still listed. */
  readonly brokenRelation: string | null;
  /** The remote unit that leaves with this hook. */
  readonly departingUnit: string | null;
  /** The storage that goes away after this hook; it is still listed. */
  readonly leavingStorage: string | null;
}

/** Throws where Juju's variables are missing. */
export function readHook(environment: Readonly<Record<string, string | undefined>>): Hook {
  const { JUJU_DISPATCH_PATH: path, JUJU_UNIT_NAME: unit, JUJU_RELATION_ID: relation } = environment;
  if (!path || !unit) throw new Error('dispatch is run by Juju, which sets JUJU_DISPATCH_PATH and JUJU_UNIT_NAME');
  const [folder, name = ''] = path.split('/');
  return {
    kind: folder === 'actions' ? 'action' : 'hook',
    name,
    unit,
    application: unit.slice(0, unit.indexOf('/')),
    brokenRelation: name.endsWith('-relation-broken') ? (relation ?? null) : null,
    departingUnit: name.endsWith('-relation-departed') ? (environment.JUJU_DEPARTING_UNIT ?? null) : null,
    leavingStorage: name.endsWith('-storage-detaching') ? (environment.JUJU_STORAGE_ID ?? null) : null,
  };
}
