import { Type, type Static } from '@sinclair/typebox'
import { strict } from './common.js'

/** What Claude may do in a workspace without asking. */
export const Rules = Type.Object({
  allow: Type.Array(
    Type.String({ minLength: 1, maxLength: 4000, pattern: '^[^\\u0000\\ud800-\\udfff]*$' }), {
      maxItems: 1000, description: 'Rules of the CLI\'s, such as `Write` or `Bash(npm test:*)`.'
    })
}, strict)
export type Rules = Static<typeof Rules>
