import t from 'tap'
import { parseListPage } from '../../../../services/sync/s3/list.js'

t.test('A page of a list says what is in it, and whether it is whole', async (t) => {
  const page = (more: string) => '<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>' +
    '<NextContinuationToken>a&amp;b&#x26;&#38;&unknown;</NextContinuationToken><Contents><Key>p/x%20y%2Bz+1</Key>' +
    `<LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag>&quot;e-1&quot;</ETag><Size>5</Size></Contents>${more}`
  t.strictSame(parseListPage(page('</ListBucketResult>'), 'p/'), {
    objects: [{ key: 'x y+z 1', size: 5, etag: 'e-1', storedAt: 1577836800000 }], next: 'a&b&&&unknown;'
  })
  t.throws(() => parseListPage(page(''), 'p/'), { code: 'IncompleteBody' })
  t.strictSame(parseListPage('<ListBucketResult/>'.replace('/>', '></ListBucketResult>'), ''), { objects: [], next: undefined })
})
