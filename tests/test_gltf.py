import json
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geneman.errors import MeshFileError
from geneman.gltf import from_gltf_axes, split_at_seams, to_gltf_axes, write_glb
from geneman.gltf_reader import read_glb
from geneman.mesh import Mesh, TexturedMesh
from tests.textured import degrees_between, embossed, textured_figure

POLES = slice(8, -8)
"""Rows of a map without the figure's poles, where many slivers share a texel: which of them has it
turns on the last bit of v, and glTF tells 1 - v."""
VALIDATOR = Path(__file__).parent / "gltf_validator"


def chunks(path):
    content = path.read_bytes()
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    binary_size, kind = struct.unpack_from("<I4s", content, 20 + size)
    assert kind == b"BIN\0"
    return json.loads(content[20 : 20 + size]), content[28 + size : 28 + size + binary_size]


def accessor(document, binary, index):
    entry = document["accessors"][index]
    view = document["bufferViews"][entry["bufferView"]]
    dtype = {5126: "<f4", 5123: "<u2", 5125: "<u4"}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[entry["type"]]
    flat = np.frombuffer(binary, dtype, entry["count"] * width, view["byteOffset"])
    return flat.reshape(entry["count"], width)


def rewrite(path, change):
    """Edit the JSON chunk of a GLB in place."""
    document, binary = chunks(path)
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text
    body += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


def corners(textured):
    """Every triangle's positions and uv, (f, 3, 5), in an order that numbering cannot change."""
    mesh = textured.mesh
    rows = torch.cat([mesh.vertices[mesh.faces], textured.uv[textured.uv_faces]], -1).numpy()
    first = np.lexsort(rows.transpose(2, 0, 1)[::-1], axis=-1)[:, :1]  # rotate, do not flip
    turned = np.take_along_axis(rows, ((first + np.arange(3)) % 3)[..., None], axis=1)
    flat = turned.reshape(len(turned), -1)
    return flat[np.lexsort(flat.T)]


@pytest.fixture
def glb(tmp_path):
    path = tmp_path / "person.glb"
    write_glb(path, textured_figure(), extras={"height": "1.7 m, from proportion"})
    return path


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_what_is_written_is_read_back(tmp_path, image_format):
    figure = textured_figure()
    write_glb(tmp_path / "a.glb", figure, image_format=image_format)
    back = read_glb(tmp_path / "a.glb")
    np.testing.assert_allclose(corners(back), corners(figure), atol=1e-6)
    assert back.mesh.vertices.shape == figure.mesh.vertices.shape, "seams must close again"
    error = (back.albedo - figure.albedo).abs()
    assert error.max() <= 0.5 / 255 + 1e-6 if image_format == "PNG" else error.mean() < 0.01


def test_the_axes_are_gltfs():
    front, left_hand, head = torch.eye(3) * torch.tensor([[-1.0], [1.0], [1.0]])
    front, left_hand = torch.tensor([0.0, -1, 0]), torch.tensor([1.0, 0, 0])
    turned = to_gltf_axes(torch.stack([front, left_hand, head]))
    torch.testing.assert_close(turned, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))


def test_turning_axes_back_gives_the_same_bits():
    points = torch.randn(50, 3)
    assert torch.equal(from_gltf_axes(to_gltf_axes(points)), points)


def test_positions_have_their_exact_limits_and_pieces_are_aligned(glb):
    document, binary = chunks(glb)
    positions = accessor(document, binary, 0)
    assert document["accessors"][0]["min"] == positions.min(axis=0).tolist()
    assert document["accessors"][0]["max"] == positions.max(axis=0).tolist()
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    assert document["buffers"][0]["byteLength"] == len(binary)
    assert document["nodes"][0]["extras"] == {"height": "1.7 m, from proportion"}


def test_the_texture_is_upside_down_as_gltf_wants(glb):
    document, binary = chunks(glb)
    positions, uv = accessor(document, binary, 0), accessor(document, binary, 2)
    assert uv[positions[:, 1].argmax(), 1] < 0.1  # the head lies in the upper rows
    assert uv[positions[:, 1].argmin(), 1] > 0.9


def test_normals_are_one_across_a_seam(glb):
    document, binary = chunks(glb)
    positions, normals = accessor(document, binary, 0), accessor(document, binary, 1)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    places, which = np.unique(positions, axis=0, return_inverse=True)
    assert len(places) < len(positions), "the figure has a seam"
    first = np.zeros((len(places), 3))
    first[which] = normals
    np.testing.assert_array_equal(first[which], normals)


def test_a_vertex_without_a_direction_still_has_a_unit_normal(tmp_path):
    flat = Mesh(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]), torch.tensor([[0, 1, 2], [0, 2, 1]])
    )
    write_glb(
        tmp_path / "a.glb",
        TexturedMesh(flat, flat.vertices[:, ::2], flat.faces, torch.ones(4, 4, 3)),
    )
    _, normals, *_ = (accessor(*chunks(tmp_path / "a.glb"), i) for i in range(3))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_only_seams_split_vertices():
    figure = textured_figure(rings=5, segments=7)
    faces, vertex, uv = split_at_seams(figure)
    assert len(vertex) == 5 * 8 + 2
    torch.testing.assert_close(vertex[faces], figure.mesh.faces)
    torch.testing.assert_close(uv[faces], figure.uv_faces)


@pytest.mark.parametrize(("segments", "component"), [(255, 5123), (400, 5125)])
def test_indices_are_as_short_as_they_can_be(tmp_path, segments, component):
    write_glb(tmp_path / "a.glb", textured_figure(rings=200, segments=segments, texture=8))
    document, binary = chunks(tmp_path / "a.glb")
    assert document["accessors"][3]["componentType"] == component
    assert accessor(document, binary, 3).max() == document["accessors"][0]["count"] - 1


@pytest.mark.parametrize("finer", [False, True])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_the_khronos_validator_has_nothing_to_say(tmp_path, image_format, finer):
    if not shutil.which("node") or not (VALIDATOR / "node_modules").is_dir():
        pytest.skip("node or its gltf-validator is absent: run npm ci in tests/gltf_validator")
    figure = embossed(textured_figure()) if finer else textured_figure()
    write_glb(tmp_path / "a.glb", figure, extras={"h": 1}, image_format=image_format)
    command = ["node", VALIDATOR / "validate.mjs", tmp_path / "a.glb"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout)["issues"]["messages"] == []


def parts(path):
    """The named arrays of the one primitive, and its document."""
    document, binary = chunks(path)
    named = document["meshes"][0]["primitives"][0]["attributes"]
    return {name: accessor(document, binary, index) for name, index in named.items()}, document


@pytest.fixture
def bumpy(tmp_path):
    path = tmp_path / "bumpy.glb"
    write_glb(path, embossed(textured_figure()))
    return path


def test_a_normal_map_is_written_with_its_tangents_and_read_back(bumpy):
    arrays, document = parts(bumpy)
    tangent, hand = arrays["TANGENT"][:, :3], arrays["TANGENT"][:, 3]
    np.testing.assert_allclose(np.linalg.norm(tangent, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose((tangent * arrays["NORMAL"]).sum(axis=1), 0, atol=1e-5)
    assert set(hand) == {1.0}
    assert document["materials"][0]["normalTexture"] == {"index": 1}
    assert document["images"][1]["mimeType"] == "image/png"
    error = degrees_between(read_glb(bumpy).normals, embossed(textured_figure()).normals)
    assert error.mean() < 0.3
    assert error[POLES].max() < 0.8


def test_bitangents_point_up_in_the_picture(bumpy):
    """On the chest, which faces +z in glTF, the figure's v grows upward."""
    arrays, _ = parts(bumpy)
    bitangent = np.cross(arrays["NORMAL"], arrays["TANGENT"][:, :3]) * arrays["TANGENT"][:, 3:]
    chest = (arrays["NORMAL"][:, 2] > 0.9) & (np.abs(arrays["POSITION"][:, 1]) < 0.2)
    assert chest.sum() > 10
    assert (bitangent[chest, 1] > 0.8).all()


def test_a_normal_map_is_never_lossy(tmp_path):
    write_glb(tmp_path / "a.glb", embossed(textured_figure()), image_format="JPEG")
    kinds = [image["mimeType"] for image in chunks(tmp_path / "a.glb")[0]["images"]]
    assert kinds == ["image/jpeg", "image/png"]


def test_without_finer_normals_there_are_neither_map_nor_tangents(glb):
    arrays, document = parts(glb)
    assert "TANGENT" not in arrays
    assert "normalTexture" not in document["materials"][0]
    assert read_glb(glb).normals is None


def test_tangents_that_a_file_leaves_out_are_made_as_mikktspace_makes_them(bumpy):
    told = read_glb(bumpy).normals
    rewrite(bumpy, lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("TANGENT"))
    assert degrees_between(read_glb(bumpy).normals, told)[POLES].max() < 0.1


def test_finer_normals_turn_with_their_node(bumpy):
    half, before = 0.5**0.5, read_glb(bumpy).normals
    rewrite(bumpy, lambda document: document["nodes"][0].update(rotation=[0, half, 0, half]))
    after = read_glb(bumpy).normals  # glTF's y by 90 degrees: our x becomes y, and y becomes -x
    x, y, z = before.unbind(dim=-1)
    assert degrees_between(after, torch.stack([-y, x, z], dim=-1)).max() < 0.1


def test_finer_normals_of_a_mirrored_node_are_mirrored(bumpy):
    before = read_glb(bumpy).normals
    rewrite(bumpy, lambda document: document["nodes"][0].update(scale=[-1, 1, 1]))
    after = read_glb(bumpy).normals
    assert degrees_between(after, before * torch.tensor([-1.0, 1, 1])).max() < 0.1


def test_a_normal_map_of_strength_0_is_flat(bumpy):
    rewrite(bumpy, lambda d: d["materials"][0]["normalTexture"].update(scale=0.0))
    smooth = embossed(textured_figure(), slope=0.0).normals
    assert degrees_between(read_glb(bumpy).normals, smooth)[POLES].max() < 0.3


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["textures"][1].pop("source"),
        lambda d: d["images"][1].pop("bufferView"),
        lambda d: d["materials"][0]["normalTexture"].update(texCoord=1),
    ],
)
def test_a_normal_map_that_is_not_understood_is_left_out(bumpy, change):
    rewrite(bumpy, change)
    assert read_glb(bumpy).normals is None


def test_node_transforms_are_applied_and_mirrors_stay_outward(glb):
    before = read_glb(glb).mesh

    def mirror(document):
        document["nodes"].append({"children": [0], "translation": [0, 2, 0], "scale": [-1, 1, 1]})
        document["scenes"][0]["nodes"] = [1]

    rewrite(glb, mirror)
    after = read_glb(glb).mesh
    moved = before.vertices * torch.tensor([-1.0, 1, 1]) + torch.tensor([0.0, 0, 2])
    np.testing.assert_allclose(
        np.unique(after.vertices.numpy(), axis=0), np.unique(moved.numpy(), axis=0), atol=1e-6
    )
    assert signed_volume(after) == pytest.approx(signed_volume(before), rel=1e-4) != 0


def signed_volume(mesh):
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return (torch.linalg.cross(a, b) * c).sum().item() / 6


def test_a_quarter_turn_is_a_quarter_turn(glb):
    half = 0.5**0.5
    rewrite(glb, lambda document: document["nodes"][0].update(rotation=[0, half, 0, half]))
    turned, upright = read_glb(glb).mesh.vertices, textured_figure().mesh.vertices
    # About glTF's y by +90 degrees: front (+z) goes to +x, which is our +x.
    assert turned[:, 0].max().item() == pytest.approx(-upright[:, 1].min().item(), abs=1e-6)


def add_a_plain_copy(document):
    """Put a person of one colour beside the first, from the same arrays."""
    plain = {"pbrMetallicRoughness": {"baseColorFactor": [0.2, 0.0, 1.0, 1.0]}}
    document["materials"].append(plain)
    copy = document["meshes"][0]["primitives"][0] | {"material": 1}
    document["meshes"].append({"primitives": [copy]})
    document["nodes"].append({"mesh": 1, "translation": [2, 0, 0]})
    document["scenes"][0]["nodes"] = [0, 1]


def test_materials_share_one_map_where_only_one_has_its_own(bumpy):
    before = read_glb(bumpy).normals
    rewrite(bumpy, add_a_plain_copy)
    both = read_glb(bumpy)
    side = 256
    assert both.albedo.shape == (side, side + 8, 3)
    assert both.normals.shape == (side + 8, side + 8, 3), "a square of the longest side"
    share = torch.linspace(0.02, 0.98, 64)
    row = (share * len(both.normals)).long()
    column = (share * side / (side + 8) * len(both.normals)).long()
    seen = both.normals[row][:, column]
    old = (share * side).long()
    assert degrees_between(seen, before[old][:, old]).median() < 3


def test_materials_share_one_albedo(glb):
    figure = textured_figure()
    rewrite(glb, add_a_plain_copy)
    both = read_glb(glb)
    centres = both.uv[both.uv_faces].mean(dim=1)
    height, width, _ = both.albedo.shape
    column, row = (centres[:, 0] * width).long(), ((1 - centres[:, 1]) * height).long()
    seen = both.albedo[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    right = both.mesh.vertices[both.mesh.faces].mean(dim=1)[:, 0] > 1
    assert right.sum() == len(figure.mesh.faces)
    # sRGB of linear 0.2 is 0.4845.
    torch.testing.assert_close(
        seen[right], torch.tensor([0.4845, 0, 1]).expand(int(right.sum()), 3), atol=0.01, rtol=0
    )
    assert seen[~right].std() > 0.1, "the first keeps its picture"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "whole GLB 2.0"),
        (b"not a mesh at all", "whole GLB 2.0"),
        (struct.pack("<4sII", b"glTF", 2, 500), "500 of 12 bytes"),
    ],
)
def test_what_is_no_glb_is_refused(tmp_path, content, words):
    (tmp_path / "a.glb").write_bytes(content)
    with pytest.raises(MeshFileError, match=words):
        read_glb(tmp_path / "a.glb")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(extensionsRequired=["KHR_draco"]), "requires KHR_draco"),
        (lambda d: d["accessors"][0].update(sparse={}), "sparse accessor"),
        (lambda d: d["meshes"][0]["primitives"][0].update(mode=1), "no triangles"),
        (lambda d: d["accessors"].pop(), "IndexError"),
    ],
)
def test_what_the_reader_does_not_understand_is_refused(glb, change, words):
    rewrite(glb, change)
    with pytest.raises(MeshFileError, match=words):
        read_glb(glb)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MeshFileError, match=r"nowhere\.glb: give another path"):
        read_glb(tmp_path / "nowhere.glb")


def test_an_old_file_survives_a_failed_write(glb):
    before = glb.read_bytes()
    broken = replace(textured_figure(), uv_faces=torch.full((3840, 3), 10**6))
    with pytest.raises(IndexError):
        write_glb(glb, broken)
    assert glb.read_bytes() == before
