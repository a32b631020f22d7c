"""BibTeX entries of the corpora, checkpoints and tools that an experiment may have used, by key, and who is cited by which key."""

from collections.abc import Iterable, Mapping

CORPORA: Mapping[str, str] = {
    "CAFE": "gournay2018cafe",
    "CREMA": "cao2014crema",
    "EMOFILM": "parada2018emofilm",
    "MSP_PODCAST": "lotfian2019msp",
    "RAVDESS": "livingstone2018ravdess",
    "SAVEE": "haq2010savee",
    "TESS": "pichora2020tess",
}
CHECKPOINTS: Mapping[str, tuple[str, ...]] = {
    "facebook/hubert-large-ll60k": ("hsu2021hubert",),
    "facebook/hubert-xlarge-ll60k": ("hsu2021hubert",),
    "superb/hubert-large-superb-er": ("hsu2021hubert", "yang2021superb"),
    "superb/hubert-large-superb-sid": ("hsu2021hubert", "yang2021superb"),
    "facebook/wav2vec2-base-960h": ("baevski2020wav2vec2",),
    "facebook/wav2vec2-large": ("baevski2020wav2vec2",),
    "facebook/wav2vec2-large-robust-ft-libri-960h": ("hsu2021robust",),
    "ntu-spml/distilhubert": ("chang2022distilhubert",),
    "facebook/hubert-base-ls960": ("hsu2021hubert",),
    "facebook/wav2vec2-base": ("baevski2020wav2vec2",),
    "facebook/wav2vec2-large-robust": ("hsu2021robust",),
    "microsoft/wavlm-base-plus": ("chen2022wavlm",),
    "microsoft/wavlm-large": ("chen2022wavlm",),
    "microsoft/unispeech-sat-large": ("chen2022unispeech",),
    "facebook/data2vec-audio-large": ("baevski2022data2vec",),
    "facebook/w2v-bert-2.0": ("barrault2023seamless",),
    "openai/whisper-small": ("radford2023whisper",),
    "openai/whisper-medium": ("radford2023whisper",),
    "openai/whisper-large-v3": ("radford2023whisper",),
}
TOOLS: Mapping[str, str] = {
    "torch": "paszke2019pytorch",
    "torchaudio": "yang2022torchaudio",
    "transformers": "wolf2020transformers",
    "scikit-learn": "pedregosa2011sklearn",
    "opensmile": "eyben2010opensmile",
    "mlflow": "zaharia2018mlflow",
}
EGEMAPS_KEY = "eyben2016gemaps"
ADAMW_KEY = "loshchilov2019adamw"
LORA_KEY = "hu2022lora"
ENTRIES: Mapping[str, str] = {
    "gournay2018cafe": """@inproceedings{gournay2018cafe,
  author = {Gournay, Philippe and Lahaie, Olivier and Lefebvre, Roch},
  title = {A {Canadian French} Emotional Speech Dataset},
  booktitle = {Proceedings of the 9th {ACM} Multimedia Systems Conference},
  pages = {399--402},
  year = {2018},
  doi = {10.1145/3204949.3208121}
}""",
    "cao2014crema": """@article{cao2014crema,
  author = {Cao, Houwei and Cooper, David G. and Keutmann, Michael K. and Gur, Ruben C. and Nenkova, Ani and Verma, Ragini},
  title = {{CREMA-D}: Crowd-sourced Emotional Multimodal Actors Dataset},
  journal = {{IEEE} Transactions on Affective Computing},
  volume = {5},
  number = {4},
  pages = {377--390},
  year = {2014},
  doi = {10.1109/TAFFC.2014.2336244}
}""",
    "parada2018emofilm": """@inproceedings{parada2018emofilm,
  author = {Parada-Cabaleiro, Emilia and Costantini, Giovanni and Batliner, Anton and Baird, Alice and Schuller, Bj{\\"o}rn W.},
  title = {Categorical vs Dimensional Perception of {Italian} Emotional Speech},
  booktitle = {Proceedings of Interspeech 2018},
  pages = {3638--3642},
  year = {2018},
  doi = {10.21437/Interspeech.2018-47}
}""",
    "lotfian2019msp": """@article{lotfian2019msp,
  author = {Lotfian, Reza and Busso, Carlos},
  title = {Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional Speech from Existing Podcast Recordings},
  journal = {{IEEE} Transactions on Affective Computing},
  volume = {10},
  number = {4},
  pages = {471--483},
  year = {2019},
  doi = {10.1109/TAFFC.2017.2736999}
}""",
    "livingstone2018ravdess": """@article{livingstone2018ravdess,
  author = {Livingstone, Steven R. and Russo, Frank A.},
  title = {The {Ryerson} Audio-Visual Database of Emotional Speech and Song ({RAVDESS}): A dynamic, multimodal set of facial and vocal
    expressions in {North American English}},
  journal = {{PLoS ONE}},
  volume = {13},
  number = {5},
  pages = {e0196391},
  year = {2018},
  doi = {10.1371/journal.pone.0196391}
}""",
    "haq2010savee": """@incollection{haq2010savee,
  author = {Haq, Sanaul and Jackson, Philip J. B.},
  title = {Multimodal Emotion Recognition},
  booktitle = {Machine Audition: Principles, Algorithms and Systems},
  editor = {Wang, Wenwu},
  publisher = {IGI Global},
  pages = {398--423},
  year = {2010},
  doi = {10.4018/978-1-61520-919-4.ch017}
}""",
    "pichora2020tess": """@misc{pichora2020tess,
  author = {Pichora-Fuller, M. Kathleen and Dupuis, Kate},
  title = {{Toronto} emotional speech set ({TESS})},
  publisher = {Scholars Portal Dataverse},
  year = {2020},
  doi = {10.5683/SP2/E8H2MF}
}""",
    "hsu2021hubert": """@article{hsu2021hubert,
  author = {Hsu, Wei-Ning and Bolte, Benjamin and Tsai, Yao-Hung Hubert and Lakhotia, Kushal and Salakhutdinov, Ruslan and Mohamed,
    Abdelrahman},
  title = {{HuBERT}: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units},
  journal = {{IEEE/ACM} Transactions on Audio, Speech, and Language Processing},
  volume = {29},
  pages = {3451--3460},
  year = {2021},
  doi = {10.1109/TASLP.2021.3122291}
}""",
    "baevski2020wav2vec2": """@inproceedings{baevski2020wav2vec2,
  author = {Baevski, Alexei and Zhou, Yuhao and Mohamed, Abdelrahman and Auli, Michael},
  title = {wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  pages = {12449--12460},
  year = {2020}
}""",
    "hsu2021robust": """@inproceedings{hsu2021robust,
  author = {Hsu, Wei-Ning and Sriram, Anuroop and Baevski, Alexei and Likhomanenko, Tatiana and Xu, Qiantong and Pratap, Vineel and
    Kahn, Jacob and Lee, Ann and Collobert, Ronan and Synnaeve, Gabriel and Auli, Michael},
  title = {Robust wav2vec 2.0: Analyzing Domain Shift in Self-Supervised Pre-Training},
  booktitle = {Proceedings of Interspeech 2021},
  pages = {721--725},
  year = {2021},
  doi = {10.21437/Interspeech.2021-236}
}""",
    "yang2021superb": """@inproceedings{yang2021superb,
  author = {Yang, Shu-wen and Chi, Po-Han and Chuang, Yung-Sung and Lai, Cheng-I Jeff and Lakhotia, Kushal and Lin, Yist Y. and Liu, Andy
    T. and Shi, Jiatong and Chang, Xuankai and Lin, Guan-Ting and Huang, Tzu-Hsien and Tseng, Wei-Cheng and Lee, Ko-tik and Liu, Da-Rong
    and Huang, Zili and Dong, Shuyan and Li, Shang-Wen and Watanabe, Shinji and Mohamed, Abdelrahman and Lee, Hung-yi},
  title = {{SUPERB}: Speech Processing Universal {PERformance} Benchmark},
  booktitle = {Proceedings of Interspeech 2021},
  pages = {1194--1198},
  year = {2021},
  doi = {10.21437/Interspeech.2021-1775}
}""",
    "chang2022distilhubert": """@inproceedings{chang2022distilhubert,
  author = {Chang, Heng-Jui and Yang, Shu-wen and Lee, Hung-yi},
  title = {{DistilHuBERT}: Speech Representation Learning by Layer-wise Distillation of Hidden-unit {BERT}},
  booktitle = {{ICASSP} 2022},
  pages = {7087--7091},
  year = {2022},
  doi = {10.1109/ICASSP43922.2022.9747490}
}""",
    "chen2022wavlm": """@article{chen2022wavlm,
  author = {Chen, Sanyuan and Wang, Chengyi and Chen, Zhengyang and Wu, Yu and Liu, Shujie and Chen, Zhuo and Li, Jinyu and Kanda,
    Naoyuki and Yoshioka, Takuya and Xiao, Xiong and Wu, Jian and Zhou, Long and Ren, Shuo and Qian, Yanmin and Qian, Yao and Wu, Jian and
    Zeng, Michael and Yu, Xiangzhan and Wei, Furu},
  title = {{WavLM}: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing},
  journal = {{IEEE} Journal of Selected Topics in Signal Processing},
  volume = {16},
  number = {6},
  pages = {1505--1518},
  year = {2022},
  doi = {10.1109/JSTSP.2022.3188113}
}""",
    "chen2022unispeech": """@inproceedings{chen2022unispeech,
  author = {Chen, Sanyuan and Wu, Yu and Wang, Chengyi and Chen, Zhengyang and Chen, Zhuo and Liu, Shujie and Wu, Jian and Qian, Yao and
    Wei, Furu and Li, Jinyu and Yu, Xiangzhan},
  title = {{UniSpeech-SAT}: Universal Speech Representation Learning with Speaker Aware Pre-Training},
  booktitle = {{ICASSP} 2022},
  pages = {6152--6156},
  year = {2022},
  doi = {10.1109/ICASSP43922.2022.9747077}
}""",
    "baevski2022data2vec": """@inproceedings{baevski2022data2vec,
  author = {Baevski, Alexei and Hsu, Wei-Ning and Xu, Qiantong and Babu, Arun and Gu, Jiatao and Auli, Michael},
  title = {data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language},
  booktitle = {Proceedings of the 39th International Conference on Machine Learning},
  volume = {162},
  pages = {1298--1312},
  year = {2022}
}""",
    "barrault2023seamless": """@misc{barrault2023seamless,
  author = {{Seamless Communication} and Barrault, Lo{\\"i}c and others},
  title = {Seamless: Multilingual Expressive and Streaming Speech Translation},
  howpublished = {arXiv:2312.05187},
  year = {2023}
}""",
    "radford2023whisper": """@inproceedings{radford2023whisper,
  author = {Radford, Alec and Kim, Jong Wook and Xu, Tao and Brockman, Greg and McLeavey, Christine and Sutskever, Ilya},
  title = {Robust Speech Recognition via Large-Scale Weak Supervision},
  booktitle = {Proceedings of the 40th International Conference on Machine Learning},
  volume = {202},
  pages = {28492--28518},
  year = {2023}
}""",
    "paszke2019pytorch": """@inproceedings{paszke2019pytorch,
  author = {Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and Bradbury, James and Chanan, Gregory and
    Killeen, Trevor and Lin, Zeming and Gimelshein, Natalia and Antiga, Luca and Desmaison, Alban and K{\\"o}pf, Andreas and Yang, Edward
    and DeVito, Zachary and Raison, Martin and Tejani, Alykhan and Chilamkurthy, Sasank and Steiner, Benoit and Fang, Lu and Bai, Junjie
    and Chintala, Soumith},
  title = {{PyTorch}: An Imperative Style, High-Performance Deep Learning Library},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  pages = {8024--8035},
  year = {2019}
}""",
    "yang2022torchaudio": """@inproceedings{yang2022torchaudio,
  author = {Yang, Yao-Yuan and Hira, Moto and Ni, Zhaoheng and Astafurov, Artyom and Chen, Caroline and Puhrsch, Christian and
    Pollack, David and Genzel, Dmitriy and Greenberg, Donny and Yang, Edward Z. and others},
  title = {{TorchAudio}: Building Blocks for Audio and Speech Processing},
  booktitle = {{ICASSP} 2022},
  pages = {6982--6986},
  year = {2022},
  doi = {10.1109/ICASSP43922.2022.9747236}
}""",
    "wolf2020transformers": """@inproceedings{wolf2020transformers,
  author = {Wolf, Thomas and Debut, Lysandre and Sanh, Victor and Chaumond, Julien and Delangue, Clement and Moi, Anthony and
    Cistac, Pierric and Rault, Tim and Louf, R{\\'e}mi and Funtowicz, Morgan and Davison, Joe and Shleifer, Sam and von Platen, Patrick and
    Ma, Clara and Jernite, Yacine and Plu, Julien and Xu, Canwen and Le Scao, Teven and Gugger, Sylvain and Drame, Mariama and Lhoest,
    Quentin and Rush, Alexander M.},
  title = {Transformers: State-of-the-Art Natural Language Processing},
  booktitle = {Proceedings of {EMNLP} 2020: System Demonstrations},
  pages = {38--45},
  year = {2020},
  doi = {10.18653/v1/2020.emnlp-demos.6}
}""",
    "pedregosa2011sklearn": """@article{pedregosa2011sklearn,
  author = {Pedregosa, Fabian and Varoquaux, Ga{\\"e}l and Gramfort, Alexandre and Michel, Vincent and Thirion, Bertrand and
    Grisel, Olivier and Blondel, Mathieu and Prettenhofer, Peter and Weiss, Ron and Dubourg, Vincent and Vanderplas, Jake and Passos,
    Alexandre and Cournapeau, David and Brucher, Matthieu and Perrot, Matthieu and Duchesnay, {\\'E}douard},
  title = {Scikit-learn: Machine Learning in {Python}},
  journal = {Journal of Machine Learning Research},
  volume = {12},
  pages = {2825--2830},
  year = {2011}
}""",
    "eyben2010opensmile": """@inproceedings{eyben2010opensmile,
  author = {Eyben, Florian and W{\\"o}llmer, Martin and Schuller, Bj{\\"o}rn},
  title = {{openSMILE}: The {Munich} Versatile and Fast Open-Source Audio Feature Extractor},
  booktitle = {Proceedings of the 18th {ACM} International Conference on Multimedia},
  pages = {1459--1462},
  year = {2010},
  doi = {10.1145/1873951.1874246}
}""",
    "eyben2016gemaps": """@article{eyben2016gemaps,
  author = {Eyben, Florian and Scherer, Klaus R. and Schuller, Bj{\\"o}rn W. and Sundberg, Johan and Andr{\\'e}, Elisabeth and
    Busso, Carlos and Devillers, Laurence Y. and Epps, Julien and Laukka, Petri and Narayanan, Shrikanth S. and Truong, Khiet P.},
  title = {The {Geneva} Minimalistic Acoustic Parameter Set ({GeMAPS}) for Voice Research and Affective Computing},
  journal = {{IEEE} Transactions on Affective Computing},
  volume = {7},
  number = {2},
  pages = {190--202},
  year = {2016},
  doi = {10.1109/TAFFC.2015.2457417}
}""",
    "zaharia2018mlflow": """@article{zaharia2018mlflow,
  author = {Zaharia, Matei and Chen, Andrew and Davidson, Aaron and Ghodsi, Ali and Hong, Sue Ann and Konwinski, Andy and
    Murching, Siddharth and Nykodym, Tomas and Ogilvie, Paul and Parkhe, Mani and Xie, Fen and Zumar, Corey},
  title = {Accelerating the Machine Learning Lifecycle with {MLflow}},
  journal = {{IEEE} Data Engineering Bulletin},
  volume = {41},
  number = {4},
  pages = {39--45},
  year = {2018}
}""",
    "hu2022lora": """@inproceedings{hu2022lora,
  author = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and Li, Yuanzhi and Wang, Shean and Wang, Lu and
    Chen, Weizhu},
  title = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}""",
    "loshchilov2019adamw": """@inproceedings{loshchilov2019adamw,
  author = {Loshchilov, Ilya and Hutter, Frank},
  title = {Decoupled Weight Decay Regularization},
  booktitle = {International Conference on Learning Representations},
  year = {2019}
}""",
}


def bibliography(keys: Iterable[str]) -> str:
    """Return the entries of some keys as a .bib file, each once, in the order of the keys."""
    return "\n\n".join(ENTRIES[key] for key in dict.fromkeys(keys)) + "\n"
