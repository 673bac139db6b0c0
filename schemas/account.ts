import { Type, type Static } from '@sinclair/typebox'
import { Gpu, strict, WholeSeconds } from './common.js'

/**
 * What one account may use at a time, and what each of its sandboxes may be. Sandboxes and volumes are counted at
 * Modal, runs, streams and requests by each replica.
 */
const AccountLimits = Type.Object({
  sandboxes: Type.Integer({ minimum: 0, default: 10, description: 'Running sandboxes.' }),
  runs: Type.Integer({ minimum: 0, default: 5, description: 'Concurrent runs of Claude; at most one per sandbox.' }),
  streams: Type.Integer({ minimum: 0, default: 50, description: 'Open Server-Sent Events responses.' }),
  requestsPerMinute: Type.Integer({ minimum: 1, default: 600 }),
  cpu: Type.Number({ minimum: 0.125, maximum: 64, default: 4, description: 'Cores of a sandbox.' }),
  memoryMiB: Type.Integer({ minimum: 128, maximum: 344_064, default: 16_384, description: 'Memory of a sandbox.' }),
  gpus: Type.Array(Gpu('*'), {
    default: [], description: 'GPU types and the most of each that a sandbox may have, such as T4 or A100:2; *:8 is any.'
  }),
  timeoutMs: { ...WholeSeconds, default: 8 * 3_600_000, description: 'Lifetime of a sandbox.' },
  idleTimeoutMs: { ...WholeSeconds, default: 3_600_000, description: 'Idle timeout of a sandbox.' },
  volumes: Type.Integer({ minimum: 0, default: 50, description: 'Volumes, whether in use or not.' }),
  monthlyBudgetUsd: Type.Optional(Type.Number({
    exclusiveMinimum: 0, description: 'What its runs may cost in a calendar month (UTC).'
  }))
}, { ...strict, default: {} })

/** A location in S3 that an account may use. `*` matches any characters in every field but the prefix. */
export const AccountStorage = Type.Object({
  bucket: Type.String({ minLength: 1 }),
  keyPrefix: Type.Optional(Type.String({
    description: 'Restricts the account to keys below it; {account} stands for its id. Default: the whole bucket.'
  })),
  secretName: Type.Optional(Type.String({
    minLength: 1,
    description: 'Modal secret with AWS_ACCESS_KEY_ID and so on. Default: the credentials of the service.'
  })),
  endpointUrl: Type.Optional(Type.String({
    minLength: 1, description: 'An S3-compatible server, such as https://s3.example.com.'
  })),
  region: Type.Optional(Type.String({ minLength: 1 })),
  roleArn: Type.Optional(Type.String({
    pattern: '^arn:aws[a-z-]*:iam::\\d{12}:role/[\\w+=,.@/-]{1,500}$',
    description: 'A role that trusts Modal\'s OIDC tokens. With it Modal mounts the bucket, instead of with the secret.'
  }))
}, strict)
export type AccountStorage = Static<typeof AccountStorage>

/** One tenant, as configured in `ACCOUNTS`. The id `*` is for every token subject that is not listed. */
export const Account = Type.Object({
  id: Type.String({ minLength: 1, maxLength: 200 }),
  apiKeys: Type.Array(Type.String({ pattern: '^sha256:[0-9a-f]{64}$' }), {
    default: [], description: 'SHA-256 digests of the keys, as sha256:<hex>.'
  }),
  secrets: Type.Array(Type.String({ minLength: 1 }), {
    default: [], description: 'Modal secrets the account may name; * matches any characters.'
  }),
  s3: Type.Optional(Type.Array(AccountStorage, { description: 'Where its workspaces may be stored.' })),
  limits: AccountLimits
}, strict)
export type Account = Static<typeof Account>
