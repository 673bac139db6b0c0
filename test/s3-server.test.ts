import {
  CompleteMultipartUploadCommand, CreateMultipartUploadCommand, GetObjectCommand, ListBucketsCommand,
  PutObjectCommand, UploadPartCommand
} from '@aws-sdk/client-s3'
import t from 'tap'
import { noS3, s3Client, startS3 } from './helpers/s3.js'

t.test('The S3 server of the tests', { skip: noS3 }, async (t) => {
  const s3 = await startS3({ memoryMiB: 256 })
  const { client } = s3
  await s3.createBucket('work')

  await t.test('keeps objects under any key, with their metadata', async (t) => {
    const Key = 'dir/ü + % # ? & \\ " \' \n.txt'
    await client.send(new PutObjectCommand({ Bucket: 'work', Key, Body: 'hello', Metadata: { mode: '100644' } }))
    const answer = await client.send(new GetObjectCommand({ Bucket: 'work', Key }))
    t.equal(await answer.Body!.transformToString(), 'hello')
    t.strictSame(answer.Metadata, { mode: '100644' })
  })

  await t.test('puts the parts of an upload together', async (t) => {
    const target = { Bucket: 'work', Key: 'large' }
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(target))
    const Parts = []
    for (const PartNumber of [1, 2]) {
      const Body = Buffer.alloc(5 * 2 ** 20, PartNumber)
      const { ETag } = await client.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body }))
      Parts.push({ PartNumber, ETag })
    }
    await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }))
    const bytes = await (await client.send(new GetObjectCommand(target))).Body!.transformToByteArray()
    t.equal(bytes.length, 10 * 2 ** 20)
    t.equal(bytes[5 * 2 ** 20], 2)
  })

  await t.test('lets nobody in with a wrong secret', async (t) => {
    const stranger = s3Client({ ...s3, secretAccessKey: 'wrong' })
    await t.rejects(stranger.send(new ListBucketsCommand()), { name: 'SignatureDoesNotMatch' })
    stranger.destroy()
  })

  await t.test('makes another key of the same user', async (t) => {
    const key = await s3.createKey()
    t.not(key.accessKeyId, s3.accessKeyId)
    const other = s3Client({ ...s3, ...key })
    const { Buckets } = await other.send(new ListBucketsCommand())
    t.match(Buckets, [{ Name: 'work' }])
    other.destroy()
  })

  await s3.close()
  await t.rejects(fetch(s3.endpoint), 'and is gone after close')
})
