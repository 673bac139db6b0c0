import type { App, ModalClient, SandboxCreateParams, Secret, Volume } from 'modal'
import type { Account } from '../../schemas/account.js'
import { lookupMs } from '../modal/call.js'
import { appName } from '../modal/names.js'
import type { Plan } from './plan.js'
import type { Steps } from './steps.js'
import type { MountOptions, StorageRecord } from './tags.js'
import type { Volumes } from './volumes.js'

/** The Modal objects that a create refers to. */
export interface Lookups {
  registrySecret?: Secret
  /** For the clone of a repository. */
  gitSecret?: Secret
  params: Pick<SandboxCreateParams, 'secrets' | 'volumes' | 'cloudBucketMounts'>
}

/** The account's app, created when it is missing (1.4). */
export async function lookUpApp (client: ModalClient, account: Account, steps: Steps): Promise<App> {
  return await steps.run('app', () => client.apps.fromName(appName(account.id), { createIfMissing: true }), {
    timeoutMs: lookupMs, ids: ({ appId }) => ({ appId })
  })
}

/** Volume and secrets, concurrently. */
export async function lookUp (
  client: ModalClient, volumes: Volumes, account: Account, plan: Plan, steps: Steps
): Promise<Lookups> {
  const { volume: ownName, mountPath, mount, s3 } = plan.record
  const one = async (name: string | undefined, step: string) =>
    name === undefined ? undefined : (await lookUpSecrets(client, [name], steps, step))[0]
  const [volume, registrySecret, gitSecret, secrets, mounts] = await Promise.all([
    ownName === undefined
      ? undefined
      : steps.run('volume', () => volumes.open(account, ownName, plan.volumeVersion), {
        timeoutMs: lookupMs, ids: ({ volumeId }) => ({ volumeId })
      }),
    one(plan.recipe.registrySecret, 'registry secret'),
    one(plan.git?.secretName, 'git secret'),
    lookUpSecrets(client, plan.secrets, steps, 'secrets'),
    s3?.mountPath === undefined ? undefined : lookUpMount(client, s3, steps)
  ])
  return {
    ...(registrySecret !== undefined && { registrySecret }),
    ...(gitSecret !== undefined && { gitSecret }),
    params: {
      secrets,
      ...(volume !== undefined && { volumes: { [mountPath!]: mounted(volume, mount) } }),
      ...(mounts !== undefined && { cloudBucketMounts: mounts })
    }
  }
}

function mounted (volume: Volume, { readOnly, subPath }: MountOptions = {}): Volume {
  return volume.withMountOptions({
    ...(readOnly !== undefined && { readOnly }), ...(subPath !== undefined && { subPath })
  })
}

/** Modal itself mounts the bucket, with a role or the credentials of the secret: not in the sandbox (1.3, 1.5). */
async function lookUpMount (client: ModalClient, s3: StorageRecord, steps: Steps) {
  const { bucket, prefix, endpointUrl, readOnly, roleArn } = s3
  const [secret] = roleArn === undefined ? await lookUpSecrets(client, [s3.secretName!], steps, 's3 secret') : []
  const mount = client.cloudBucketMounts.create(bucket, {
    readOnly,
    ...(secret !== undefined && { secret }),
    ...(roleArn !== undefined && { oidcAuthRoleArn: roleArn }),
    ...(prefix !== '' && { keyPrefix: prefix }),
    ...(endpointUrl !== undefined && { bucketEndpointUrl: endpointUrl })
  })
  return { [s3.mountPath!]: mount }
}

async function lookUpSecrets (client: ModalClient, names: string[], steps: Steps, step: string): Promise<Secret[]> {
  if (names.length === 0) return []
  return await steps.run(step, () => Promise.all(names.map((name) => client.secrets.fromName(name))), {
    timeoutMs: lookupMs,
    notFound: 'SECRET_NOT_FOUND',
    ids: (secrets) => ({ secretIds: secrets.map(({ secretId }) => secretId) })
  })
}
