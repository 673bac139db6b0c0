import { DeleteObjectsCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3'

/** Removes every object, so that the next one to be measured finds the same server. */
export async function emptyBucket (client: S3Client, bucket: string): Promise<void> {
  while (true) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
    if (Contents.length === 0) return
    const Objects = Contents.map(({ Key }) => ({ Key: Key! }))
    await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }))
  }
}
