import { execFile } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Server { endpoint: string, region: string, accessKeyId: string, secretAccessKey: string }

/** A tool that people use for the same job, in the ways that suit it best. Times are in seconds. */
export interface Peer {
  name: string
  upload: (directory: string, prefix: string) => Promise<number>
  download: (prefix: string, directory: string) => Promise<number>
}

/** rclone as it comes and tuned, and the AWS command line; whatever of them is installed. */
export async function findPeers (server: Server, bucket: string): Promise<Peer[]> {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    AWS_ACCESS_KEY_ID: server.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
    AWS_DEFAULT_REGION: server.region,
    RCLONE_CONFIG: '/dev/null',
    RCLONE_CONFIG_S3_TYPE: 's3',
    RCLONE_CONFIG_S3_PROVIDER: 'Ceph',
    RCLONE_CONFIG_S3_ENV_AUTH: 'true',
    RCLONE_CONFIG_S3_ENDPOINT: server.endpoint,
    RCLONE_CONFIG_S3_REGION: server.region
  }
  // rclone does not start with it.
  delete env.AWS_CA_BUNDLE

  async function timed (command: string[]) {
    const started = performance.now()
    await run(command[0]!, command.slice(1), { env, maxBuffer: 2 ** 26 })
    return (performance.now() - started) / 1000
  }
  async function fresh (directory: string, command: string[]) {
    await rm(directory, { recursive: true, force: true })
    return await timed(command)
  }
  const rclone = (name: string, ...options: string[]): Peer => ({
    name,
    upload: async (directory, prefix) => await timed(['rclone', 'sync', ...options, directory, `s3:${bucket}/${prefix}`]),
    download: async (prefix, directory) =>
      await fresh(directory, ['rclone', 'sync', ...options, `s3:${bucket}/${prefix}`, directory])
  })
  const aws = ['/usr/bin/aws', 's3', 'sync', '--only-show-errors', '--endpoint-url', server.endpoint]
  const tuned = ['--transfers', '32', '--checkers', '32', '--fast-list', '--s3-upload-concurrency', '16']
  const peers = [
    rclone('rclone'),
    rclone('rclone, 32 transfers', ...tuned),
    rclone('rclone, 32 transfers, by checksum', ...tuned, '--checksum'),
    {
      name: 'aws-cli',
      upload: async (directory: string, prefix: string) => await timed([...aws, directory, `s3://${bucket}/${prefix}`]),
      download: async (prefix: string, directory: string) =>
        await fresh(directory, [...aws, `s3://${bucket}/${prefix}`, directory])
    }
  ]
  const installed = await Promise.all(['rclone', aws[0]!].map(async (program) =>
    await run(program, ['--version'], { env }).then(() => true, () => false)))
  if (installed.includes(false)) console.log('(rclone or aws-cli is not installed: Debian has both)')
  return peers.filter(({ name }) => installed[name === 'aws-cli' ? 1 : 0])
}
