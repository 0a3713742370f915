/** Folder in which the charm finds the machine. Tests pack the charm with another one. */
export const root: string = '/';
