import type { App, Image, ModalClient, Sandbox } from 'modal'
import { AppError, wrap } from '../../../errors.js'
import type { Log } from '../../../lib/log.js'
import { callModal } from '../../modal/call.js'
import { serviceAppName } from '../../modal/names.js'
import { runCommand } from '../../modal/process.js'
import type { S3Credentials } from './http.js'

/** What a Modal secret says about S3. */
export interface SecretValues extends S3Credentials {
  region?: string
  endpointUrl?: string
  expiresAt?: number
}

interface SecretReaderOptions {
  client: ModalClient
  /** Builds an image that has `sh`, for the sandbox that gets the secret. */
  buildImage: (app: App) => Promise<Image>
  log: Log
}

const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_REGION', 'AWS_DEFAULT_REGION',
  'AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL', 'AWS_CREDENTIAL_EXPIRATION']
/** Secrets change now and then; until they are read again the old values are used. */
const cachedMs = 10 * 60_000
const beforeExpiryMs = 60_000
/** Values this new are not read again: many requests may fail with them at the same time. */
const freshMs = 5000
const callMs = 60_000
const buildMs = 30 * 60_000
/** One that is left behind costs next to nothing, and ends by itself. */
const tiny = { cpu: 0.125, cpuLimit: 1, memoryMiB: 128, memoryLimitMiB: 256, timeoutMs: callMs }

/**
 * Reads the values of Modal secrets. Modal's API does not reveal them, so a sandbox of the service's own gets the
 * secret, prints its values and ends at once. They are printed by an exec, as Modal keeps what the main process prints.
 * No user or Claude is ever in that sandbox.
 */
export class SecretReader {
  readonly #options: SecretReaderOptions
  readonly #cache = new Map<string, { values: Promise<SecretValues>, readAt: number, until: number }>()

  constructor (options: SecretReaderOptions) {
    this.#options = options
  }

  /** @throws {AppError} SECRET_NOT_FOUND, S3_REFUSED when it has no keys, MODAL_*. */
  async read (secretName: string): Promise<SecretValues> {
    const cached = this.#cache.get(secretName)
    if (cached !== undefined && Date.now() < cached.until) return await cached.values
    const values = this.#readInSandbox(secretName)
    const entry = { values, readAt: Date.now(), until: Date.now() + cachedMs }
    this.#cache.set(secretName, entry)
    try {
      const { expiresAt } = await values
      const last = Math.min(entry.until, (expiresAt ?? Infinity) - beforeExpiryMs)
      entry.until = Math.max(Date.now() + freshMs, last)
    } catch (error) {
      this.#cache.delete(secretName)
      throw error
    }
    return await values
  }

  /** S3 did not accept the values: the next `read` asks Modal again. */
  forget (secretName: string): void {
    const cached = this.#cache.get(secretName)
    if (cached !== undefined && Date.now() - cached.readAt > freshMs) this.#cache.delete(secretName)
  }

  async #readInSandbox (secretName: string): Promise<SecretValues> {
    const { client, buildImage, log } = this.#options
    let sandbox: Sandbox | undefined
    try {
      const [app, secret] = await callModal('secret', callMs, () => Promise.all([
        client.apps.fromName(serviceAppName, { createIfMissing: true }), client.secrets.fromName(secretName)
      ]), { notFound: 'SECRET_NOT_FOUND' })
      const image = await callModal('image', buildMs, () => buildImage(app))
      sandbox = await callModal('secret sandbox', 2 * callMs, () => client.sandboxes.create(app, image, {
        ...tiny, command: ['sleep', '60'], secrets: [secret], blockNetwork: true, workdir: '/'
      }))
      const values = await print(sandbox)
      log.info({ secretName, sandboxId: sandbox.sandboxId }, 'secret read')
      return parse(secretName, values)
    } catch (error) {
      throw wrap(error, 'credentials', 'S3_REFUSED')
    } finally {
      await sandbox?.terminate().catch(() => {})
    }
  }
}

async function print (sandbox: Sandbox): Promise<string[]> {
  const script = names.map((name) => `printf '%s\\n' "$${name}"`).join('\n')
  const { stdout } = await runCommand(sandbox, 'read secret', ['sh', '-c', script], { timeoutMs: callMs })
  return stdout.toString().split('\n').map((value) => value.trim())
}

function parse (secretName: string, values: string[]): SecretValues {
  const [accessKeyId, secretAccessKey, sessionToken, region, defaultRegion, endpointOfS3, endpoint, expiry] = values
  if (!accessKeyId || !secretAccessKey) {
    const message = `The secret ${secretName} has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.`
    throw new AppError('S3_REFUSED', { message })
  }
  const expiresAt = Date.parse(expiry ?? '')
  const endpointUrl = endpointOfS3 || endpoint
  return {
    accessKeyId,
    secretAccessKey,
    ...sessionToken && { sessionToken },
    ...(region || defaultRegion) && { region: region || defaultRegion! },
    ...endpointUrl && { endpointUrl },
    ...!Number.isNaN(expiresAt) && { expiresAt }
  }
}
