/** The exit code of a command that Ctrl-C has ended, as shells show it: 128 and the number of SIGINT. */
export const interrupted = 130;
