// Files that somebody brings, as the browser reads them.

/** The pixels of a file; what is no picture is thrown as a problem that says what to change. */
export async function readPicture(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw {
      title: "Not a picture",
      detail: `this browser cannot read ${file.name || "it"}: choose a PNG, JPEG, WebP or GIF`,
    };
  }
}
