import fc from 'fast-check';

/**
 * Tries a property with many values; throws where it does not hold. This is `fc.assert` for properties that are not
 * asynchronous, whose result the linter would take for a promise.
 */
export function holds<Values>(property: fc.IProperty<Values>, parameters?: fc.Parameters<Values>): void {
  fc.assert(property, parameters);
}
