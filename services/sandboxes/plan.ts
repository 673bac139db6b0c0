import type { SandboxCreateParams } from 'modal'
import { AppError } from '../../errors.js'
import { digest, randomId } from '../../lib/ids.js'
import { matches } from '../../lib/pattern.js'
import type { Account } from '../../schemas/account.js'
import type { Repository, SandboxSpec, Volume } from '../../schemas/sandbox.js'
import { appName } from '../modal/names.js'
import type { ImageRecipe } from './images.js'
import { checkWorkdir, checkWorkspacePath, cleanPath, isWithin } from './paths.js'
import { planResources, type Timeouts } from './resources.js'
import { planStorage } from './storage.js'
import type { MountOptions, SandboxRecord, StorageRecord } from './tags.js'

/** The rest of a record is only known when the sandbox starts: its image may take half an hour to build. */
type PlannedRecord = Omit<SandboxRecord, 'deployment' | 'createdAt' | 'expiresAt' | 'preparing' | 'modelDomain'>

/** Everything about a new sandbox that is known before Modal is asked. */
export interface Plan {
  /** The sandbox's name at Modal, unique among the account's running sandboxes. */
  modalName: string
  record: PlannedRecord
  /** Of the volume, when it is created. */
  volumeVersion?: 1 | 2
  recipe: ImageRecipe
  secrets: string[]
  /** Cloned into the working directory. */
  git?: Repository
  params: SandboxCreateParams & { timeoutMs: number }
}

const defaultWorkdir = '/workspace'

/** Refuses what the account may not have before anything is created. @throws {AppError} BAD_REQUEST, FORBIDDEN. */
export function planSandbox (
  account: Account, spec: SandboxSpec, idempotencyKey: string | undefined, recipe: ImageRecipe, defaults: Timeouts
): Plan {
  const secrets = spec.secrets ?? []
  const others = [recipe.registrySecret, spec.git?.secretName].filter((name) => name !== undefined)
  checkSecrets(account, [...secrets, ...others])
  checkGit(spec)
  const mountPath = spec.volume && cleanPath(spec.volume.mountPath ?? defaultWorkdir)
  if (mountPath === '/') throw new AppError('BAD_REQUEST', { message: 'body.volume.mountPath must be below /' })
  const workdir = cleanPath(spec.workdir ?? mountPath ?? defaultWorkdir)
  checkWorkspacePath(mountPath === undefined ? 'body.workdir' : 'body.volume.mountPath', mountPath ?? workdir)
  checkWorkdir('body.workdir', workdir)
  const storage = spec.s3 && planStorage(account, spec.s3)
  if (storage !== undefined) {
    if (spec.volume?.readOnly === true) {
      throw new AppError('BAD_REQUEST', { message: 'body.volume.readOnly cannot be combined with body.s3' })
    }
    checkStoragePaths(storage, mountPath, workdir)
  }
  const resources = planResources(account, spec, defaults)
  const { cpu, memoryMiB, gpu } = resources
  const { key, fingerprint } = identify(account, spec, idempotencyKey)

  const record: PlannedRecord = {
    owner: appName(account.id),
    image: recipe.registry,
    workdir,
    resources: { cpu, memoryMiB, ...(gpu !== undefined && { gpu }) },
    request: randomId('create').slice(-20),
    tags: spec.tags ?? {},
    ...(spec.volume !== undefined && { volume: spec.volume.name, mountPath: mountPath!, ...mountOptions(spec.volume) }),
    ...(spec.name !== undefined && { name: spec.name }),
    ...(storage !== undefined && {
      s3: storage, place: placeOf(storage), idleTimeoutMs: String(resources.idleTimeoutMs)
    }),
    ...(spec.network?.block === true && { network: 'blocked' as const }),
    ...(key !== undefined && { key, fingerprint: fingerprint! })
  }
  return {
    // A client's name has no dot, so it cannot be mistaken for one that is derived from a key.
    modalName: spec.name ?? (key !== undefined ? keyName(key) : `auto.${record.request}`),
    record,
    ...(spec.volume?.version !== undefined && { volumeVersion: spec.volume.version }),
    recipe,
    secrets,
    ...(spec.git !== undefined && { git: spec.git }),
    params: {
      ...resources,
      ...(spec.env !== undefined && { env: spec.env }),
      ...networkParams(spec.network)
    }
  }
}

/** @throws {AppError} BAD_REQUEST for what could only fail. */
function checkGit ({ git, network, volume }: SandboxSpec) {
  if (git === undefined) return
  const other = network?.block === true ? 'network.block' : volume?.readOnly === true ? 'volume.readOnly' : undefined
  if (other !== undefined) throw new AppError('BAD_REQUEST', { message: `body.git cannot be combined with body.${other}` })
}

/** The Modal name of a sandbox that has an Idempotency-Key and no name of its own. */
export function keyName (key: string): string {
  return `key.${key}`
}

/** @throws {AppError} FORBIDDEN naming the first secret that the account may not use. */
export function checkSecrets (account: Account, names: string[]) {
  const refused = names.find((name) => !mayUseSecret(account, name))
  if (refused !== undefined) throw new AppError('FORBIDDEN', { message: `Your account may not use the secret ${refused}.` })
}

/** Whether an account may name a Modal secret; `*` in its patterns matches any characters. */
export function mayUseSecret (account: Account, secret: string): boolean {
  return account.secrets.some((pattern) => matches(pattern, secret))
}

/** The synced directory may not contain the bucket's own mount: the bucket would be stored in itself. */
function checkStoragePaths ({ mountPath }: StorageRecord, volumePath: string | undefined, workdir: string) {
  const root = volumePath ?? workdir
  if (root === '/') throw new AppError('BAD_REQUEST', { message: 'body.s3 needs a volume, or a body.workdir below /' })
  if (mountPath === undefined) return
  checkWorkspacePath('body.s3.mountPath', mountPath)
  if (mountPath === '/' || isWithin(mountPath, root) || isWithin(root, mountPath)) {
    throw new AppError('BAD_REQUEST', { message: `body.s3.mountPath must not overlap with the workspace ${root}` })
  }
}

/** What is not asked for is not kept. */
function mountOptions ({ readOnly, subPath, exclusive }: Volume): { mount?: MountOptions } {
  const mount = {
    ...(readOnly === true && { readOnly }),
    ...(subPath !== undefined && { subPath }),
    ...(exclusive === true && { exclusive })
  }
  return Object.keys(mount).length === 0 ? {} : { mount }
}

/** A digest, as Modal finds sandboxes by whole tags of limited length. */
function placeOf ({ endpointUrl = '', bucket, prefix }: StorageRecord): string {
  return digest([endpointUrl, bucket, prefix].join('\n'), 40)
}

/**
 * The digest that stands for an Idempotency-Key, and the one of the request it came with. The key salts the latter:
 * the body has values of environment variables, which must not be guessable from a tag.
 */
function identify (account: Account, spec: SandboxSpec, idempotencyKey: string | undefined) {
  if (idempotencyKey === undefined) return {}
  return {
    key: digest(`${account.id}\n${idempotencyKey}`, 40),
    fingerprint: digest(`${idempotencyKey}\n${canonical(spec)}`, 40)
  }
}

/** JSON with sorted keys: the same request in another order is the same request. */
function canonical (value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => typeof part === 'object' && part !== null && !Array.isArray(part)
    ? Object.fromEntries(Object.entries(part).sort(([one], [other]) => one < other ? -1 : 1))
    : part)
}

function networkParams ({ block, cidrAllowlist, domainAllowlist }: NonNullable<SandboxSpec['network']> = {}) {
  if (block === true) {
    for (const [field, list] of Object.entries({ cidrAllowlist, domainAllowlist })) {
      if (list === undefined) continue
      throw new AppError('BAD_REQUEST', { message: `body.network.${field} cannot be combined with body.network.block` })
    }
    return { blockNetwork: true }
  }
  return {
    ...(cidrAllowlist !== undefined && { outboundCidrAllowlist: cidrAllowlist }),
    ...(domainAllowlist !== undefined && { outboundDomainAllowlist: domainAllowlist })
  }
}
