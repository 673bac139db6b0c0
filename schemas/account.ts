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

/** A place in S3 that an account may use. `*` matches any characters, in all but the prefix. */
export const AccountStorage = Type.Object({
  bucket: Type.String({ minLength: 1 }),
  keyPrefix: Type.Optional(Type.String({
    description: 'All keys are below it; {account} stands for the account. The whole bucket otherwise.'
  })),
  secretName: Type.Optional(Type.String({
    minLength: 1, description: 'Modal secret with AWS_ACCESS_KEY_ID and so on; the credentials of the service otherwise.'
  })),
  endpointUrl: Type.Optional(Type.String({ minLength: 1, description: 'Of an S3-compatible server, such as https://s3.example.com.' })),
  region: Type.Optional(Type.String({ minLength: 1 }))
}, strict)
export type AccountStorage = Static<typeof AccountStorage>

/** One tenant, as an operator writes it in `ACCOUNTS`. The id `*` stands for every token subject not listed. */
export const Account = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 200 }),
  apiKeys: Type.Array(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }), {
    default: [], description: 'SHA-256 digests of the keys, as sha256:<hex>.'
  }),
  secrets: Type.Array(Type.String({ minLength: 1 }), {
    default: [], description: 'Modal secrets the account may name; * matches any characters.'
  }),
  s3: Type.Optional(Type.Array(AccountStorage, { description: 'Where its workspaces may be kept.' })),
  limits: AccountLimits
}, strict)
export type Account = Static<typeof Account>
