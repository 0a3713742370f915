import type { z } from 'zod';

/** The fault in a file, in words that follow its place: `config.options.port.default must be a number`. */
export function faultOf(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be ${words[issue.expected] ?? issue.expected}`;
    case 'unrecognized_keys':
      return `has keys that are unknown here: ${issue.keys.join(', ')}`;
    case 'invalid_value':
      return `${issue.input === undefined ? 'is missing, and ' : ''}must be ${issue.values.join(' or ')}`;
    case 'invalid_key':
      return issue.issues.map(({ message }) => message).join(', ');
    case 'too_small':
      return `must not be ${issue.origin === 'number' || issue.origin === 'int' ? `less than ${issue.minimum}` : 'so short'}`;
    case 'too_big':
      return `must have at most ${issue.maximum} characters`;
    case 'invalid_format':
      return `must be a ${issue.format}`;
    default:
      return undefined;
  }
}

const words: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  null: 'empty',
};
