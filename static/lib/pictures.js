import { h } from './dom.js'
import { words } from './words.js'

/** What is shown and sent as a picture, by the bytes it begins with. SVG is none of it: it is more than a picture. */
const signatures = [
  ['image/png', /^\x89PNG\r\n/],
  ['image/jpeg', /^\xff\xd8\xff/],
  ['image/gif', /^GIF8[79]a/],
  ['image/webp', /^RIFF[^]{4}WEBP/]
]
export const pictureTypes = signatures.map(([type]) => type)

/** The media type of an image, by its bytes. @returns undefined for anything that is not shown */
export function typeOf (base64) {
  try {
    const head = atob(base64.slice(0, 24))
    return signatures.find(([, signature]) => signature.test(head))?.[0]
  } catch {}
}

/** Larger files are only downloaded. */
export const maxShownBytes = 10 * 1024 * 1024

/** Whether a file's name is that of a picture. */
export function isPictureName (name) {
  return /\.(png|jpe?g|gif|webp|svg)$/i.test(name)
}

/** A file as an image, in which nothing runs and nothing is loaded, also of SVG. @returns undefined if it is none */
export async function pictureOfFile (blob, name, alt = name) {
  const data = await readBase64(blob)
  const type = typeOf(data) ?? (/\.svg$/i.test(name) ? 'image/svg+xml' : undefined)
  return type && imageOf(type, data, alt)
}

export function readBase64 (file) {
  return new Promise((resolve, reject) => {
    const reader = new window.FileReader()
    reader.addEventListener('load', () => resolve(reader.result.split(',')[1] ?? ''))
    reader.addEventListener('error', () => reject(reader.error))
    reader.readAsDataURL(file)
  })
}

/** The images of the model API's content blocks, as base64; one that is not in its block has none. */
export function picturesIn (blocks) {
  return blocks.filter((block) => block?.type === 'image').map(({ source }) => ({ data: String(source?.data ?? '') }))
}

/** An image, or a few words in its place. */
export function picture ({ data }, alt) {
  const type = typeOf(data)
  if (type === undefined) return h('span', { class: 'muted' }, words.common.pictureNotShown(alt))
  return imageOf(type, data, alt)
}

function imageOf (type, data, alt) {
  return h('img', { class: 'picture', src: `data:${type};base64,${data}`, alt })
}
