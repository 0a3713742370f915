/** A reason why the service does not run. `blocked`: somebody has to do something; `waiting`: others are at it. */
export interface Hindrance {
  readonly status: 'blocked' | 'waiting';
  /** Says what is missing, and who can mend it. */
  readonly message: string;
}

export const blocked = (message: string): Hindrance => ({ status: 'blocked', message });
export const waiting = (message: string): Hindrance => ({ status: 'waiting', message });
