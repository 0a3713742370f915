import { z } from 'zod';

export const Text = z.string().min(1, 'must not be empty');

/**
 * Names of charms, endpoints, options, actions and parameters: lower-case letters and digits in parts that are joined by
 * hyphens, each with a letter (Juju's rule for applications, and the style that charmcraft's linter asks for).
 */
export const Name = Text.refine(
  (name) => /^[a-z]/.test(name) && name.split('-').every((part) => /^[a-z0-9]+$/.test(part) && /[a-z]/.test(part)),
  'must be a name of lower-case letters, digits and hyphens, such as clean-cache',
);
