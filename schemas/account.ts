import { Type, type Static } from '@sinclair/typebox'

const strict = { additionalProperties: false } as const

/** What one account may use at the same time. Sandboxes are counted at Modal, all else in each replica for itself. */
export const AccountLimits = Type.Object({
  sandboxes: Type.Integer({ minimum: 0, default: 10, description: 'Running sandboxes.' }),
  runs: Type.Integer({ minimum: 0, default: 5, description: 'Claude runs at once; a sandbox has one at most.' }),
  streams: Type.Integer({ minimum: 0, default: 50, description: 'Answers in Server-Sent Events that are open.' }),
  requestsPerMinute: Type.Integer({ minimum: 1, default: 600 })
}, { ...strict, default: {} })
export type AccountLimits = Static<typeof AccountLimits>

/** One tenant, as an operator writes it in `ACCOUNTS`. The id `*` stands for every token subject not listed. */
export const Account = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 200 }),
  apiKeys: Type.Array(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }), {
    default: [], description: 'SHA-256 digests of the keys, as sha256:<hex>.'
  }),
  secrets: Type.Array(Type.String({ minLength: 1 }), {
    default: [], description: 'Modal secrets the account may name; * matches any characters.'
  }),
  limits: AccountLimits
}, strict)
export type Account = Static<typeof Account>
