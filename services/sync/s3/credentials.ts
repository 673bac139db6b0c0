import type { ModalClient, Sandbox } from 'modal'
import { AppError, wrap } from '../../../errors.js'
import type { Log } from '../../../lib/log.js'
import { callModal } from '../../modal/call.js'
import { runCommand } from '../../modal/process.js'
import { describeImage, imageRecipe, type ImageSettings } from '../../sandboxes/images.js'
import type { S3Credentials } from './http.js'

/** What a Modal secret says about S3. */
export interface SecretValues extends S3Credentials {
  region?: string
  endpointUrl?: string
  expiresAt?: number
}

export interface SecretReaderOptions {
  client: ModalClient
  image: ImageSettings
  log: Log
}

const appName = 'modal-sandbox-service'
const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_REGION', 'AWS_DEFAULT_REGION',
  'AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL', 'AWS_CREDENTIAL_EXPIRATION']
/** Secrets are changed now and then; until they are read again they count as what they were. */
const keptMs = 10 * 60_000
const beforeExpiryMs = 60_000
/** What was read just now is not read again: many requests may fail on it together. */
const freshMs = 5000
const callMs = 60_000
const buildMs = 30 * 60_000

/**
 * The values of Modal secrets. Modal's API never tells them: a sandbox of the service's own gets the secret, prints
 * them (by an exec: Modal keeps what the main process prints) and ends at once. No agent is ever in it.
 */
export class SecretReader {
  readonly #options: SecretReaderOptions
  readonly #kept = new Map<string, { values: Promise<SecretValues>, readAt: number, until: number }>()

  constructor (options: SecretReaderOptions) {
    this.#options = options
  }

  /** @throws {AppError} SECRET_NOT_FOUND, S3_REFUSED for one without keys, MODAL_*. */
  async read (secretName: string): Promise<SecretValues> {
    const kept = this.#kept.get(secretName)
    if (kept !== undefined && Date.now() < kept.until) return await kept.values
    const values = this.#ask(secretName)
    const entry = { values, readAt: Date.now(), until: Date.now() + keptMs }
    this.#kept.set(secretName, entry)
    try {
      const { expiresAt } = await values
      const last = Math.min(entry.until, (expiresAt ?? Infinity) - beforeExpiryMs)
      entry.until = Math.max(Date.now() + freshMs, last)
    } catch (error) {
      this.#kept.delete(secretName)
      throw error
    }
    return await values
  }

  /** S3 did not accept them: the next `read` asks Modal. */
  forget (secretName: string): void {
    const kept = this.#kept.get(secretName)
    if (kept !== undefined && Date.now() - kept.readAt > freshMs) this.#kept.delete(secretName)
  }

  async #ask (secretName: string): Promise<SecretValues> {
    const { client, image, log } = this.#options
    let sandbox: Sandbox | undefined
    try {
      const [app, secret] = await callModal('secret', callMs, () => Promise.all([
        client.apps.fromName(appName, { createIfMissing: true }), client.secrets.fromName(secretName)
      ]), { notFound: 'SECRET_NOT_FOUND' })
      const built = await callModal('image', buildMs, () => describeImage(client, imageRecipe(undefined, image)).build(app))
      sandbox = await callModal('secret sandbox', 2 * callMs, () => client.sandboxes.create(app, built, {
        command: ['sleep', '60'], secrets: [secret], timeoutMs: callMs, blockNetwork: true, workdir: '/'
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
    throw new AppError('S3_REFUSED', { message: `The secret ${secretName} has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.` })
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
