import {
  CreateBucketCommand, DeleteBucketCommand, DeleteObjectCommand, paginateListObjectsV2
} from '@aws-sdk/client-s3'
import type { Test } from 'tap'
import { randomId } from '../../lib/ids.js'
import { NoCeph, startLiveS3 } from './live-s3.js'
import { noS3 as notHere, s3Client, startS3, type S3Server } from './s3.js'

const live = process.env.TEST_LIVE === '1'

/** For tests that need an S3 server in reach of their sandboxes. Live, none needs to be installed here. */
export const noS3 = live ? false : notHere

/**
 * An S3 server in reach of this process and of the sandboxes of its service: on the emulator one on loopback; live the
 * operator's, where `S3_ACCESS_KEY_ID` is set, or else one in a sandbox. `undefined` when there can be none: then the
 * test is skipped, and says why.
 */
export async function reachableS3 (t: Test, options: { memoryMiB?: number } = {}): Promise<S3Server | undefined> {
  if (!live) return await startS3(options)
  if (process.env.S3_ACCESS_KEY_ID !== undefined) return operatorsS3()
  try {
    return await startLiveS3(options)
  } catch (error) {
    if (!(error instanceof NoCeph)) throw error
    t.plan(0, error.message.replaceAll(/\s+/g, ' ').slice(0, 500))
  }
}

/** The operator's server, with buckets of the tests' own, which `close` removes with all that is in them. */
function operatorsS3 (): S3Server {
  const {
    S3_REGION: region = 'us-east-1', S3_ENDPOINT_URL: endpoint = `https://s3.${region}.amazonaws.com`,
    S3_ACCESS_KEY_ID: accessKeyId = '', S3_SECRET_ACCESS_KEY: secretAccessKey = ''
  } = process.env
  const client = s3Client({ endpoint, region, accessKeyId, secretAccessKey })
  const buckets: string[] = []
  const remove = async (Bucket: string) => {
    for await (const { Contents = [] } of paginateListObjectsV2({ client, pageSize: 100 }, { Bucket })) {
      await Promise.all(Contents.map(({ Key }) => client.send(new DeleteObjectCommand({ Bucket, Key }))))
    }
    await client.send(new DeleteBucketCommand({ Bucket }))
  }
  return {
    endpoint,
    region,
    accessKeyId,
    secretAccessKey,
    client,
    async createBucket (name) {
      const bucket = `modal-sandbox-${name}-${randomId('b').slice(2, 14).toLowerCase().replaceAll(/[^a-z0-9]/g, '0')}`
      await client.send(new CreateBucketCommand({ Bucket: bucket }))
      buckets.push(bucket)
      return bucket
    },
    async createKey () {
      throw new Error('the operator\'s S3 server makes no further keys')
    },
    async close () {
      await Promise.all(buckets.map(remove))
      client.destroy()
    }
  }
}
