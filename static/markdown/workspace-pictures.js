import { paths, send } from '../lib/api.js'
import { isPictureName, maxShownBytes, pictureOfFile } from '../lib/pictures.js'

/**
 * Shows the pictures of the workspace that a text names, as they are now. Where one can't be shown its name stays.
 * The sandbox and its workdir are those of the conversation around it.
 */
export async function showPictures (element) {
  const { sandbox, workdir } = element.closest('[data-sandbox]')?.dataset ?? {}
  if (sandbox === undefined) return
  await Promise.allSettled([...element.querySelectorAll('.workspace-picture')].map(async (place) => {
    const name = decodeURI(place.dataset.path)
    if (!isPictureName(name)) return
    const path = name.startsWith('/') ? name : `${workdir.replace(/\/$/, '')}/${name.replace(/^\.\//, '')}`
    const response = await send('GET', paths.content(sandbox, path), { accept: '*/*' })
    if (Number(response.headers.get('content-length')) > maxShownBytes) return await response.body.cancel()
    const picture = await pictureOfFile(await response.blob(), name, place.textContent)
    if (picture) place.replaceChildren(picture)
  }))
}
